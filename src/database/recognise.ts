import type { Container, EngineName } from '../model/project.ts';
import { parseImageName } from './image-name.ts';

/** The label with which a service says what it is, where its image's name does not: `safe-update.database: postgres`. */
export const databaseLabel = 'safe-update.database';

/** What a kind of server looks like from outside. */
export interface ServerLooks {
  engine: EngineName;
  /** Matches the last part of the image's name, in lower case. */
  image: RegExp;
  /** Variables that only images of this kind define; one of them is enough. */
  variables: readonly string[];
  /** Matches the path of the server's program. */
  server: RegExp;
  /** Matches the file names of programs that are used against such a server, or instead of it. */
  client: RegExp;
  /** Arguments with which the server's program serves no data. */
  serverless?: RegExp;
  dataPath(container: Container): string;
}

/** What the programs of a kind of server are called. */
export type ProgramNames = Pick<ServerLooks, 'server' | 'client' | 'serverless'>;

/** What a command line does, and the arguments its server gets. */
export interface CommandRole {
  /**
   * `default`: the image's entrypoint, without a program of its own · `client`: a program of the database that is not
   * the server · `tool`: a common program · `opaque`: a program that could be anything
   */
  role: 'server' | 'default' | 'client' | 'opaque' | 'tool';
  arguments: string[];
}

/**
 * Is this container such a server? The label decides where there is one. A server's program in the command is enough.
 * An image of the kind is not: it also serves as a one-shot client, or as a sidecar that dumps at night. A command
 * that could be anything counts as the server if somebody gave it a place of its own for the data.
 */
export function looksLike(looks: ServerLooks, container: Container): boolean {
  const label = container.labels[databaseLabel];
  if (label !== undefined) return label.trim() === looks.engine;
  const { role } = commandRole(looks, container);
  const { path } = parseImageName(container.imageName.toLowerCase());
  const ofThisKind =
    looks.image.test(path.at(-1) ?? '') || looks.variables.some((name) => variable(container, name));
  switch (role) {
    case 'server':
      return true;
    case 'default':
      return ofThisKind;
    case 'opaque':
      return ofThisKind && hasPlaceForData(container, looks.dataPath(container));
    case 'client':
    case 'tool':
      return false;
  }
}

/** Anonymous volumes do not count: a client of the same image has one too. */
function hasPlaceForData(container: Container, path: string): boolean {
  return container.mounts.some(
    (mount) =>
      !mount.readOnly &&
      (mount.type === 'bind' || (mount.type === 'volume' && !/^[0-9a-f]{64}$/.test(mount.source))) &&
      (within(path, mount.path) || within(mount.path, path)),
  );
}

function within(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** The value of a variable of the container; undefined if it is absent or blank. */
export function variable(container: Container, name: string): string | undefined {
  const value = container.environment
    .findLast((entry) => entry.startsWith(`${name}=`))
    ?.slice(name.length + 1);
  return value === '' ? undefined : value;
}

/** What the container's command does. The arguments have variables in them replaced by the container's own. */
export function commandRole(looks: ProgramNames, container: Container): CommandRole {
  return roleOf(looks, container, container.command);
}

const shells = /^(?:ba|da|a|z|k)?sh$/;
const initPrograms =
  /^(?:tini|tini-static|dumb-init|docker-init|catatonit|s6-setuidgid|gosu|su-exec|setpriv|env|exec|nice)$/;
const takesAnArgument = /^(?:s6-setuidgid|gosu|su-exec)$/;
const commonTools =
  /^(?:sleep|tail|cat|echo|printf|true|false|test|\[\[?|:|ls|date|tar|gzip|zstd|cp|mv|rm|mkdir|chown|chmod|find|rsync|rclone|restic|curl|wget|export|set|trap|cd|wait|kill|for)$/;
// What a script is called is all there is to know of it.
const sidecars = /backup|dump|restore|cron|wait|migrat|seed|import|export|prune/;

function roleOf(looks: ProgramNames, container: Container, command: readonly string[]): CommandRole {
  const [path = '', ...rest] = command;
  const program = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
  const answer = (role: CommandRole['role'], args: string[] = []): CommandRole => ({ role, arguments: args });
  if (program === '') return answer('tool');
  if (shells.test(program)) {
    const flag = rest.findIndex((word) => /^-[a-z]*c$/.test(word));
    const script = flag === -1 ? undefined : rest[flag + 1];
    if (script !== undefined) return roleOfScript(looks, container, script);
    const file = rest.find((word) => !word.startsWith('-'));
    return file === undefined ? answer('tool') : roleOf(looks, container, [file]);
  }
  if (looks.server.test(path)) {
    const serverless = looks.serverless !== undefined && rest.some((word) => looks.serverless?.test(word));
    return serverless ? answer('client') : answer('server', rest);
  }
  if (initPrograms.test(program)) {
    const next = rest.findIndex((word) => !word.startsWith('-') && !/^\w+=/.test(word));
    return next === -1
      ? answer('tool')
      : roleOf(looks, container, rest.slice(takesAnArgument.test(program) ? next + 1 : next));
  }
  if (program.includes('entrypoint')) {
    const [first] = rest;
    if (first !== undefined && !first.startsWith('-') && !first.endsWith('.conf'))
      return roleOf(looks, container, rest);
    return sidecars.test(program) ? answer('client') : answer('default', rest);
  }
  if (looks.client.test(program) || sidecars.test(program)) return answer('client');
  return answer(commonTools.test(program) ? 'tool' : 'opaque');
}

const byWeight: readonly CommandRole['role'][] = ['server', 'default', 'client', 'opaque', 'tool'];

function roleOfScript(looks: ProgramNames, container: Container, script: string): CommandRole {
  const roles = shellCommands(script, (name) => variable(container, name)).map((command) =>
    roleOf(looks, container, command),
  );
  for (const weight of byWeight) {
    const found = roles.find(({ role }) => role === weight);
    if (found !== undefined) return found;
  }
  return { role: 'tool', arguments: [] };
}

const keywords = new Set('if then else elif fi while until do done ! { } exec command time nohup'.split(' '));

/**
 * The simple commands of a shell script, each as its words: enough of the language to see what is run and with which
 * arguments. Quotes are taken off and variables replaced; `$(…)` stays as it is written.
 */
export function shellCommands(script: string, valueOf: (name: string) => string | undefined): string[][] {
  const commands: string[][] = [];
  let words: string[] = [];
  let word: string | undefined;
  const endWord = (): void => {
    if (word !== undefined) words.push(word);
    word = undefined;
  };
  const endCommand = (): void => {
    endWord();
    while (words[0] !== undefined && (keywords.has(words[0]) || /^\w+=/.test(words[0]))) words.shift();
    if (words.length > 0) commands.push(words);
    words = [];
  };
  const expand = (text: string): string =>
    text.replace(
      variablePattern,
      (whole, braced?: string, operator?: string, other?: string, plain?: string) => {
        const name = braced ?? plain;
        if (name === undefined) return whole;
        return valueOf(name) ?? (operator?.endsWith('-') === true ? other : undefined) ?? '';
      },
    );

  let rest = script;
  while (rest !== '') {
    const token = tokenPattern.exec(rest);
    const [whole = rest.charAt(0), groups] = [token?.[0], token?.groups ?? {}];
    rest = rest.slice(Math.max(whole.length, 1));
    if (groups['blank'] !== undefined) endWord();
    else if (groups['end'] !== undefined) endCommand();
    else if (groups['comment'] !== undefined && word !== undefined) word += whole;
    else if (groups['comment'] !== undefined || groups['joined'] !== undefined) continue;
    else if (groups['redirection'] !== undefined) endWord();
    else if (groups['literal'] !== undefined) word = (word ?? '') + groups['literal'];
    else if (groups['escaped'] !== undefined) word = (word ?? '') + groups['escaped'];
    else if (groups['quoted'] !== undefined) {
      word = (word ?? '') + expand(groups['quoted'].replace(/\\([$`"\\])/g, '$1'));
    } else if (groups['variable'] !== undefined) {
      // Unquoted, a value falls apart at its blanks.
      const [first = '', ...more] = expand(whole).split(/\s+/);
      if (first !== '') word = (word ?? '') + first;
      for (const next of more) {
        endWord();
        if (next !== '') word = next;
      }
    } else word = (word ?? '') + whole;
  }
  endCommand();
  return commands;
}

const variablePattern = /\$\{(\w+)(?:(:?[-?=])([^}]*))?\}|\$([A-Za-z_]\w*)|\$\([^()]*\)/g;

const tokenPattern = new RegExp(
  [
    String.raw`(?<joined>\\\n)`,
    String.raw`\\(?<escaped>[\s\S])`,
    String.raw`'(?<literal>[^']*)'`,
    String.raw`"(?<quoted>(?:\$\([^()]*\)|[^"\\]|\\[\s\S])*)"`,
    String.raw`(?<substitution>\$\([^()]*\)|\x60[^\x60]*\x60)`,
    String.raw`(?<variable>\$\{\w+(?::?[-?=][^}]*)?\}|\$[A-Za-z_]\w*)`,
    String.raw`(?<redirection>\d*(?:[<>]+&?|&>+))`,
    String.raw`(?<end>[;&|()\n]+)`,
    String.raw`(?<blank>[ \t\r]+)`,
    String.raw`(?<comment>#[^\n]*)`,
  ]
    .map((part) => `(?:${part})`)
    .join('|')
    .replace(/^/, '^(?:')
    .replace(/$/, ')'),
);
