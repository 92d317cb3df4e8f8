import { applyEdits, modify, parse, type ParseError } from 'jsonc-parser';
import { SafeUpdateError } from '../../../model/error.ts';

const key = 'authorization-plugins';

/** The authorization plugins that a daemon.json names. Throws SafeUpdateError `refused` if dockerd could not read it. Pure. */
export function pluginsIn(text: string | undefined, path: string): readonly string[] {
  if (text === undefined || text.trim() === '') return [];
  const errors: ParseError[] = [];
  const root: unknown = parse(text, errors, { disallowComments: true });
  if (errors.length > 0 || typeof root !== 'object' || root === null || Array.isArray(root))
    throw strange(path, 'it is no JSON object');
  const plugins = (root as Record<string, unknown>)[key] ?? [];
  if (!Array.isArray(plugins) || !plugins.every((plugin) => typeof plugin === 'string'))
    throw strange(path, `"${key}" is no list of names`);
  return plugins;
}

/** Given a daemon.json, or undefined where there is none, return it with this plugin as the last. The rest stays as it is. Pure. */
export function withPlugin(text: string | undefined, path: string, name: string): string {
  const plugins = pluginsIn(text, path);
  if (plugins.includes(name)) return text ?? '';
  const after =
    text === undefined || text.trim() === ''
      ? `${JSON.stringify({ [key]: [name] }, null, 2)}\n`
      : edited(text, plugins.length === 0 ? [name] : [...plugins, name]);
  // A name that is there twice would be edited in one place and read in the other.
  if (!pluginsIn(after, path).includes(name)) throw strange(path, `"${key}" is there twice`);
  return after;
}

/** Given a daemon.json, return it without this plugin, and without a list that is empty then. Pure. */
export function withoutPlugin(text: string, path: string, name: string): string {
  const plugins = pluginsIn(text, path);
  if (!plugins.includes(name)) return text;
  const left = plugins.filter((plugin) => plugin !== name);
  const after = edited(text, left.length === 0 ? undefined : left);
  if (pluginsIn(after, path).includes(name)) throw strange(path, `"${key}" is there twice`);
  return after;
}

function edited(text: string, plugins: readonly string[] | undefined): string {
  const indent = /^([ \t]+)\S/m.exec(text)?.[1];
  return applyEdits(
    text,
    modify(text, [key], plugins, {
      formattingOptions: {
        insertSpaces: indent?.startsWith('\t') !== true,
        tabSize: indent === undefined ? 2 : indent.startsWith('\t') ? 1 : indent.length,
        eol: text.includes('\r\n') ? '\r\n' : '\n',
      },
    }),
  );
}

function strange(path: string, why: string): SafeUpdateError {
  return new SafeUpdateError('refused', `${path} cannot be edited: ${why}.`, {
    state: 'Nothing was touched.',
    hint: `Mend it, and try it with: dockerd --validate --config-file ${path}`,
  });
}
