/**
 * Whether a bind mount is covered by `bindMounts.include`.
 *
 * Takes the absolute patterns of the settings and the mount's absolute path on the host. A pattern covers the path
 * it names and everything below it. `*` and `?` stand for anything but a slash, `**` for any number of folders.
 */
export function coversBindMount(include: readonly string[], source: string): boolean {
  const folders = withParents(source);
  return include.some((pattern) => {
    // A plain path is compared as it is, so that a folder with glob characters in its name can be named too.
    if (folders.includes(pattern)) return true;
    const expression = globExpression(pattern);
    return folders.some((folder) => expression.test(folder));
  });
}

/** The path itself and every folder it lies in. */
function withParents(path: string): string[] {
  const parts = path.split(/[\\/]/);
  return parts.map((_, index) => path.slice(0, parts.slice(0, index + 1).join('/').length)).filter(Boolean);
}

function globExpression(pattern: string): RegExp {
  const source = pattern.replace(/\*\*[\\/]|\*\*|\*|\?|[\\^$.+()[\]{}|]/g, (token) => {
    if (token === '**') return '.*';
    if (token.startsWith('**')) return '(?:[^/\\\\]+[/\\\\])*';
    if (token === '*') return '[^/\\\\]*';
    if (token === '?') return '[^/\\\\]';
    return `\\${token}`;
  });
  return new RegExp(`^${source}$`);
}
