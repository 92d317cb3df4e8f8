import { isMap, isScalar, isSeq, parseAllDocuments, type Node, type Scalar } from 'yaml';
import { asWord } from '../shell.ts';
import { moduleCommand, oneLine } from './ansible.ts';
import { placed, withoutTemplates, type Piece } from './sources.ts';

/** Keys whose value is shell text, or a list of it: GitHub Actions, GitLab, CircleCI, Drone, Taskfile, Ansible and so on. */
const textKeys = new Set(
  (
    'run script before_script after_script pre_script post_script bash sh pwsh powershell cmd cmds commands ' +
    'shell raw ansible.builtin.shell ansible.builtin.command ansible.builtin.raw ansible.legacy.shell ' +
    'ansible.legacy.command inline inlineScript deploy_script test_script build_script install before_install after_success ' +
    'after_failure before_deploy after_deploy preset prestart poststart exec defer'
  ).split(' '),
);
/** Keys whose value is a command: text, or the words of one. */
const commandKeys = new Set(['command', 'entrypoint', 'args', 'argv', 'test']);

/** The shell text in a YAML text, by the keys under which people put it. What is no YAML has none. */
export function yamlPieces(text: string): Piece[] {
  const pieces: Piece[] = [];
  for (const document of parseAllDocuments(text)) {
    const { contents } = document as { contents: Node | null };
    walk(contents, isCompose(contents));
  }
  return pieces;

  function walk(node: unknown, compose: boolean): void {
    if (isSeq(node)) for (const item of node.items) walk(item, compose);
    if (!isMap(node)) return;
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : '';
      if (textKeys.has(name)) eachText(value);
      else if (commandKeys.has(name)) command(value, compose);
      else task(key, name, value);
      // A task of a Taskfile may be nothing but its commands.
      if (name === 'tasks' && isMap(value)) for (const one of value.items) eachText(one.value);
      walk(value, compose);
    }
  }

  /** A task of Ansible, as the command that does the same. */
  function task(key: unknown, name: string, value: unknown): void {
    const given = isMap(value)
      ? new Map(value.items.map((pair) => [textOf(pair.key), textOf(pair.value)]))
      : isScalar(value) && typeof value.value === 'string'
        ? oneLine(value.value)
        : undefined;
    const same = given === undefined ? undefined : moduleCommand(name, given);
    const start = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
    if (same !== undefined) pieces.push({ text: withoutTemplates(same), at: () => start });
  }

  /** Text, a list of texts, or Ansible's `cmd:` below it. */
  function eachText(value: unknown): void {
    if (isScalar(value)) add(value, false);
    else if (isSeq(value)) for (const item of value.items) eachText(item);
  }

  function command(value: unknown, compose: boolean): void {
    if (isScalar(value)) {
      add(value, compose);
      return;
    }
    if (!isSeq(value)) return;
    const words = value.items.map((item) => (isScalar(item) ? String(item.value) : ''));
    // A healthcheck's first word says how the rest is run.
    const [first, ...rest] = words;
    const shell = first === 'CMD-SHELL' ? rest.join(' ') : undefined;
    const start = value.range?.[0] ?? 0;
    pieces.push({
      text: withoutTemplates(shell ?? (first === 'CMD' ? rest : words).map(asWord).join(' ')),
      at: () => start,
      inside: compose,
    });
  }

  function add(scalar: Scalar, inside: boolean): void {
    if (typeof scalar.value !== 'string') return;
    const start = scalar.range?.[0] ?? 0;
    const end = scalar.range?.[1] ?? start;
    // Compose writes a dollar sign twice.
    const value = withoutTemplates(inside ? scalar.value.replaceAll('$$', ' $') : scalar.value);
    pieces.push({ text: value, at: placeIn(text, scalar, start, end), inside });
  }
}

function textOf(node: unknown): string {
  if (isSeq(node)) return node.items.map((item) => asWord(textOf(item))).join(' ');
  return isScalar(node) ? String(node.value) : '';
}

function isCompose(contents: unknown): boolean {
  return isMap(contents) && contents.has('services');
}

/** Where an offset in a scalar's value is in the file: exact for literal blocks and for one line, else where it starts. */
function placeIn(text: string, scalar: Scalar, start: number, end: number): (offset: number) => number {
  const source = text.slice(start, end);
  if (scalar.type === 'BLOCK_LITERAL') {
    const value = String(scalar.value).split('\n');
    const body = source.indexOf('\n') + 1;
    let offset = start + body;
    const starts: number[] = [];
    for (const [index, line] of text.slice(offset, end).split('\n').entries()) {
      starts.push(offset + Math.max(line.length - (value[index] ?? '').length, 0));
      offset += line.length + 1;
    }
    return (at) => placed(at, value, starts);
  }
  if (scalar.type === 'PLAIN' && !source.includes('\n')) return (at) => start + at;
  return () => start;
}
