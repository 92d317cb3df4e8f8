/** One way to write a request that dockerd 28.5 was sent, with a volume `VV` and a container `CC` that has an anonymous volume. */
export interface Spelling {
  method: string;
  /** The request target, as it was sent. */
  target: string;
  /** What the engine deleted by it; undefined: nothing. test/e2e/guard-engine.test.ts sends it to a real one. */
  deletes?: 'volume' | 'anonymous volume';
}

/** What deletes nothing is refused by the engine's router (301, 404) or its parser (400), or keeps the volumes. */
export const spellings: readonly Spelling[] = [
  ...[
    '/volumes/VV',
    '/v1.24/volumes/VV',
    '/v1.50/volumes/VV',
    '/v01.41/volumes/VV',
    '/%76olumes/VV',
    '/volumes%2FVV',
    '/volumes/%56V',
    '/v1.41%2Fvolumes%2fVV',
    '/volumes/VV?force=1',
    'http://any/volumes/VV',
    'h2+x.y://any/volumes/VV',
  ].map((target) => ({ method: 'DELETE', target, deletes: 'volume' as const })),
  ...[
    'v=1',
    'v=true',
    'v=f',
    'v=2',
    'v=off',
    'v=n',
    'v=1&v=0',
    '%76=1',
    'a=?&v=1',
    'a=#&v=1',
    '&v=1',
    'v=%201',
    'v=1&force=1',
  ].map((query) => ({
    method: 'DELETE',
    target: `/containers/CC?${query}`,
    deletes: 'anonymous volume' as const,
  })),
  ...[
    '/v1.10/volumes/VV',
    '/v9.99/volumes/VV',
    '/V1.41/volumes/VV',
    '/Volumes/VV',
    '//volumes/VV',
    '/volumes//VV',
    '/v1.41//volumes/VV',
    '/./volumes/VV',
    '/volumes/x/../VV',
    '/volumes/./VV',
    '/volumes/VV/',
    '/volumes/VV/.',
    '/%2576olumes/VV',
    '/volumes/VV#x',
    '/volumes/VV?a=%zz',
    '/volumes/VV;x',
    '/volumes/VV%00',
    '/volumes/VV%20',
    '/volumes/%ffVV',
    '/containers/CC?v=0',
    '/containers/CC?v=no',
    '/containers/CC?v=',
    '/containers/CC?v=%20false',
    '/containers/CC?v=0&v=1',
    '/containers/CC?V=1',
    '/containers/CC?a=1;v=1',
    '/containers/CC?v=1;a',
    '/containers/CC?a=%zz&v=1',
    '/containers/%2FCC?v=1',
  ].map((target) => ({ method: 'DELETE', target })),
  { method: 'delete', target: '/volumes/VV' },
  { method: 'POST', target: '/volumes/VV' },
];
