import { findNodeAtLocation, getNodeValue, parseTree, type Node, type ParseError } from 'jsonc-parser';
import { SafeUpdateError } from '../../../model/error.ts';
import { inserted, removed } from './settings.ts';

const key = 'authorization-plugins';

/**
 * Given a daemon.json, or undefined where there is none, return it with this plugin as the last one. The rest stays as it is.
 * Throws SafeUpdateError `refused` if dockerd could not read it. Pure.
 */
export function withPlugin(text: string | undefined, path: string, name: string): string {
  if (text === undefined || text.trim() === '') return `${JSON.stringify({ [key]: [name] }, null, 2)}\n`;
  const { root, list, names } = pluginsIn(text, path);
  if (names.includes(name)) return text;
  return list === undefined ? inserted(text, root, key, [name]) : inserted(text, list, undefined, name);
}

/**
 * Given a daemon.json, return it without this plugin, and without a list that was made for it. Throws SafeUpdateError `refused`
 * if dockerd could not read it. Pure.
 */
export function withoutPlugin(text: string, path: string, name: string): string {
  if (text.trim() === '') return text;
  const { list, names } = pluginsIn(text, path);
  const node = list?.children?.[names.indexOf(name)];
  return node === undefined ? text : withoutPlugin(removed(text, node), path, name);
}

function pluginsIn(text: string, path: string): { root: Node; list: Node | undefined; names: unknown[] } {
  const errors: ParseError[] = [];
  // dockerd reads neither comments nor a comma too many.
  const root = parseTree(text, errors, { disallowComments: true });
  if (root?.type !== 'object' || errors.length > 0) throw strange(path, 'it is no JSON object');
  // Of two, dockerd reads the last.
  if ((root.children ?? []).filter((property) => property.children?.[0]?.value === key).length > 1)
    throw strange(path, `"${key}" is there twice`);
  const list = findNodeAtLocation(root, [key]);
  const names: unknown = list === undefined ? [] : getNodeValue(list);
  if (!Array.isArray(names)) throw strange(path, `"${key}" is no list`);
  return { root, list, names };
}

function strange(path: string, why: string): SafeUpdateError {
  return new SafeUpdateError('refused', `${path} cannot be edited: ${why}.`, {
    state: 'Nothing was touched.',
    hint: `Put it right, and try it with: dockerd --validate --config-file ${path}`,
  });
}
