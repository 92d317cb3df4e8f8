import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judgeApi } from '../../../src/guard/api.ts';
import { findingOf, readAuthzRequest, refusalOf } from '../../../src/guard/authz.ts';
import { spellings } from './spellings.ts';

function asked(method: string, address: string, more: Record<string, unknown> = {}): string {
  return JSON.stringify({ RequestMethod: method, RequestUri: address, ...more });
}

function ruleOf(text: string, options?: { cut: boolean }): string | undefined {
  const request = readAuthzRequest(text, options);
  return request === undefined ? 'malformed' : findingOf(request)?.rule;
}

describe('a request that dockerd asks about', () => {
  it.each(spellings.filter(({ deletes }) => deletes !== undefined))(
    '$method $target is refused: the engine deletes by it',
    ({ method, target, deletes }) => {
      expect(ruleOf(asked(method, target))).toBe(deletes === 'volume' ? 'volume-rm' : 'rm-volumes');
    },
  );

  it.each([
    ['GET', '/v1.51/volumes'],
    ['GET', '/v1.51/volumes/data'],
    ['HEAD', '/_ping'],
    ['POST', '/v1.51/volumes/create'],
    ['POST', '/v1.51/containers/create?name=prune'],
    ['POST', '/v1.51/containers/prune'],
    ['POST', '/v1.51/images/prune?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D'],
    ['POST', '/v1.51/build/prune'],
    ['POST', '/v1.51/networks/prune'],
    ['DELETE', '/v1.51/containers/web'],
    ['DELETE', '/v1.51/containers/web?force=1'],
    ['DELETE', '/v1.51/containers/web?v=0&force=1'],
    ['DELETE', '/v1.51/images/app:1?force=1'],
    ['DELETE', '/v1.51/networks/shop_default'],
    ['POST', '/v1.51/images/create?fromImage=a%2Fvolumes%2Fprune&tag=1'],
    ['PUT', '/v1.51/containers/web/archive?path=%2F'],
  ])('%s %s is allowed', (method, address) => {
    expect(ruleOf(asked(method, address))).toBeUndefined();
  });

  it.each([
    ['POST', '/v1.51/volumes/prune', 'volume-prune'],
    ['POST', '/volumes/%70rune?filters=%7B%7D', 'volume-prune'],
    ['POST', '/v1.51/swarm/leave?force=1', 'swarm-leave'],
    ['DELETE', '/v1.51/plugins/driver?force=1', 'plugin-rm'],
    ['DELETE', '/v1.51/volumes/a%2Fb', 'volume-rm'],
    ['DELETE', '/v1.51/storage/data', 'unknown'],
    ['POST', '/v1.51/system/prune', 'unknown'],
    ['delete', '/volumes/data', 'volume-rm'],
  ])('%s %s is refused as %s', (method, address, rule) => {
    expect(ruleOf(asked(method, address))).toBe(rule);
  });

  it('may have its parameters in a form, which the engine reads like the query', () => {
    const form = { RequestHeaders: { 'Content-Type': 'application/x-www-form-urlencoded' } };
    expect(ruleOf(asked('POST', '/swarm/leave', form))).toBe('swarm-leave');
    const json = { RequestHeaders: { 'Content-Type': 'application/json' } };
    expect(ruleOf(asked('POST', '/swarm/leave', json))).toBeUndefined();
  });

  it('names the volume or the container as the engine will read it', () => {
    const volumes = (address: string) => judgeApi({ method: 'DELETE', address })?.volumes;
    expect(volumes('/v1.51/volumes/shop%5fdb?force=1')).toEqual(['shop_db']);
    expect(volumes('/volumes/a%252Fb')).toEqual(['a%2Fb']);
    expect(judgeApi({ method: 'DELETE', address: '/containers/web?v=1' })?.containers).toEqual(['web']);
  });

  it('is read whatever its body is', () => {
    const body = { RequestBody: 'A'.repeat(2 * 1024 * 1024) };
    expect(ruleOf(asked('DELETE', '/volumes/data', body))).toBe('volume-rm');
    expect(ruleOf(asked('GET', '/volumes', body))).toBeUndefined();
    expect(ruleOf(asked('DELETE', '/volumes/data', { RequestBody: '' }))).toBe('volume-rm');
  });

  it('is told by its beginning where the rest is too long', () => {
    const start = (text: string, length: number): string | undefined =>
      ruleOf(text.slice(0, length), { cut: true });
    const long = asked('DELETE', '/volumes/data', { RequestBody: 'A'.repeat(1000) });
    expect(start(long, 300)).toBe('volume-rm');
    expect(start(asked('GET', '/volumes', { RequestBody: 'A'.repeat(1000) }), 300)).toBeUndefined();
    const name = JSON.stringify({
      User: '","RequestMethod":"GET","RequestUri":"/x',
      RequestMethod: 'DELETE',
      RequestUri: '/volumes/data',
      RequestBody: 'A'.repeat(1000),
    });
    expect(start(name, 300)).toBe('volume-rm');
    expect(start(long, 40)).toBe('malformed');
  });

  it.each([
    ['nothing', ''],
    ['no JSON', '{'],
    ['a list', '[]'],
    ['null', 'null'],
    ['no method', '{"RequestUri":"/_ping"}'],
    ['no address', '{"RequestMethod":"GET"}'],
    ['an address that is none', '{"RequestMethod":"GET","RequestUri":1}'],
    ['an empty address', '{"RequestMethod":"GET","RequestUri":""}'],
    ['two addresses', '{"RequestMethod":"GET","RequestUri":"/_ping","RequestURI":"/volumes"}'],
  ])('that is malformed is none: %s', (_, text) => {
    expect(readAuthzRequest(text)).toBeUndefined();
  });

  it('may spell the address as the documentation does', () => {
    expect(ruleOf('{"RequestMethod":"DELETE","RequestURI":"/volumes/data"}')).toBe('volume-rm');
  });
});

describe('a refusal', () => {
  it('is one line that says the rule, what would be lost, and what to do instead', () => {
    const finding = findingOf({ method: 'DELETE', address: '/v1.51/volumes/shop_db', form: false })!;
    expect(refusalOf({ findings: [{ ...finding, project: 'shop' }] })).toBe(
      'refused by safe-update guard (volume-rm); would lose the volume shop_db (project shop); instead: docker volume inspect shop_db, safe-update backup',
    );
  });
});

describe('anything at all', () => {
  it('is answered', () => {
    const any = fc.oneof(
      fc.string(),
      fc.constantFrom(null, 1, true, undefined, [], [1], {}, { 'Content-Type': 1 }),
    );
    const texts = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 500 }),
      fc.json({ maxDepth: 2 }),
      fc
        .record({ RequestMethod: any, RequestUri: any, RequestHeaders: any })
        .map((value) => JSON.stringify(value)),
      fc
        .tuple(fc.constantFrom('GET', 'POST', 'DELETE'), fc.string({ unit: 'binary', maxLength: 200 }))
        .map(([method, address]) => asked(method, address)),
    );
    fc.assert(
      fc.property(texts, fc.boolean(), (text, cut) => {
        const request = readAuthzRequest(text, { cut });
        if (request !== undefined) expect(findingOf(request)?.loses).not.toBe('');
      }),
      { numRuns: 1500 },
    );
  });

  const encoded = (text: string): fc.Arbitrary<string> =>
    fc
      .array(fc.constantFrom('as is', 'upper', 'lower'), { minLength: text.length, maxLength: text.length })
      .map((ways) =>
        Array.from(text, (letter, index) => {
          if (ways[index] === 'as is') return letter;
          const hex = `%${letter.charCodeAt(0).toString(16).padStart(2, '0')}`;
          return ways[index] === 'upper' ? hex.toUpperCase() : hex;
        }).join(''),
      );
  const name = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,40}$/);
  const prefix = fc.constantFrom(
    '',
    '/v1.24',
    '/v1.51',
    '/v01.41',
    'http://any',
    'unix+x.y://h:1/v1.51',
    '/.',
    '//',
  );
  const noise = fc.array(
    fc.constantFrom('a=?', 'b=#', 'c=%2', '', 'link=0', 'force=1', 'd=%ff', 'v1=1', '=', '?'),
    { maxLength: 4 },
  );

  it('by which the engine could delete a volume is refused, however it is spelled', () => {
    fc.assert(
      fc.property(
        prefix,
        name.chain((one) => encoded(`/volumes/${one}`)),
        noise,
        (start, path, query) => {
          // The first slash of the path is what makes it one.
          const address = `${start}/${path.replace(/^(\/|%2f)/i, '')}`;
          expect(ruleOf(asked('DELETE', [address, query.join('&')].join('?')))).toBe('volume-rm');
        },
      ),
      { numRuns: 1500 },
    );
  });

  it('by which the engine could delete a container with its volumes is refused, however it is spelled', () => {
    const set = fc
      .tuple(encoded('v'), fc.constantFrom('1', 'true', 'T', '%31', 'f', 'off', '+1', '2', 'n'))
      .map((pair) => pair.join('='));
    fc.assert(
      fc.property(prefix, name.chain(encoded), noise, set, noise, (start, path, before, pair, after) => {
        const query = [...before, pair, ...after].join('&');
        expect(ruleOf(asked('DELETE', `${start}/containers/${path}?${query}`))).toBe('rm-volumes');
      }),
      { numRuns: 1500 },
    );
  });
});
