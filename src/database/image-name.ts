/** The parts of an image's name. */
export interface ImageName {
  /** Host, with its port where one is given: `registry.example.com:5000`. Absent: the engine's default. */
  registry?: string;
  /** Namespaces and the image's own name: `['bitnami', 'postgresql']`. Never empty. */
  path: string[];
  tag?: string;
  digest?: string;
}

/**
 * Takes an image apart: `mirror:5000/library/postgres:15@sha256:…`. Whatever the string, something comes back; of an
 * image id (`sha256:…`) only the digest. As in github.com/distribution/reference: the first part is a host if it has a
 * dot or a colon, or is `localhost`; a colon after the last slash begins the tag.
 */
export function parseImageName(reference: string): ImageName {
  const at = reference.indexOf('@');
  const named = at === -1 ? reference : reference.slice(0, at);
  const digest = at === -1 ? undefined : reference.slice(at + 1);
  if (/^sha256:[0-9a-f]{64}$/.test(named)) return { path: [''], digest: named };

  const slash = named.lastIndexOf('/');
  const colon = named.indexOf(':', slash + 1);
  const tag = colon === -1 ? undefined : named.slice(colon + 1);
  const path = (colon === -1 ? named : named.slice(0, colon)).split('/');
  const [first = ''] = path;
  const registry = path.length > 1 && /[.:]|^localhost$/.test(first) ? path.shift() : undefined;
  return {
    ...(registry === undefined ? {} : { registry }),
    path,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}
