import { orderedFrom, parseJustfile } from '../justfile.ts';
import { parseMakefile, type RecipeLine } from '../makefile.ts';
import { asWord } from '../shell.ts';
import { SOME } from '../unknown.ts';
import { jenkinsPieces } from './jenkinsfile.ts';

/** Shell text within a file. */
export interface Piece {
  text: string;
  /** Given an offset in `text`, return the one in the file. */
  at: (offset: number) => number;
  /** Where it runs: what the host's folders are called means nothing in an image that is being built. */
  inside?: boolean;
  /** Perhaps no shell text at all: that it cannot be read means nothing. */
  perhaps?: boolean;
}

export type Kind =
  | 'shell'
  | 'shell-start'
  | 'fish'
  | 'makefile'
  | 'justfile'
  | 'package'
  | 'yaml'
  | 'dockerfile'
  | 'systemd'
  | 'crontab'
  | 'jenkinsfile'
  | 'markdown';

/** What shells read when they start (also kept without the dot, in a folder of such files), and direnv. */
const startFiles =
  /^(?:\.?(?:bashrc|bash_profile|bash_login|bash_logout|bash_aliases|bash_functions|zshrc|zshenv|zprofile|zlogin|zlogout|kshrc|mkshrc)|\.(?:profile|aliases|functions|envrc))$/;

/** Given a path with `/` and the beginning of the file, return what kind of file it is; undefined: none that is read. */
export function kindOf(path: string, text: string): Kind | undefined {
  const name = path.split('/').at(-1) ?? '';
  if (/\.(sh|bash|zsh|ksh|dash)$/.test(name)) return 'shell';
  if (name.endsWith('.fish')) return 'fish';
  if (startFiles.test(name)) return 'shell-start';
  // Husky's need no first line.
  if (/(^|\/)\.husky\/[a-z-]+$/.test(path)) return 'shell';
  if (/^(GNUm|m|M)akefile$|\.mk$/.test(name)) return 'makefile';
  if (/^\.?justfile$|\.just$/i.test(name)) return 'justfile';
  if (name === 'package.json' || name === 'composer.json') return 'package';
  if (/\.ya?ml$/.test(name)) return 'yaml';
  if (/^(Dockerfile|Containerfile)(\..+)?$|\.(dockerfile|containerfile)$/i.test(name)) return 'dockerfile';
  if (/^Jenkinsfile(\..+)?$|\.jenkinsfile$/i.test(name)) return 'jenkinsfile';
  if (/\.(service|timer|socket|path)$/.test(name)) return 'systemd';
  if (/(^|\/)(crontab|cron\.d\/[^/]+)$|\.(cron|crontab)$/.test(path)) return 'crontab';
  if (/\.(md|markdown)$/i.test(name)) return 'markdown';
  if (/^#!\s*(\S*\/)?(env\s+(-\S+\s+)*)?(ba|da|z|k|a)?sh\b/.test(text)) return 'shell';
  return undefined;
}

/** The shell text in a file of these kinds. YAML has a file of its own. */
export function piecesOf(kind: Exclude<Kind, 'yaml' | 'markdown'>, text: string): Piece[] {
  switch (kind) {
    case 'shell':
      return [{ text, at: (offset) => offset }];
    case 'shell-start':
      return [{ text, at: (offset) => offset }, ...aliasPieces(text)];
    case 'fish':
      // Its blocks are none of sh; its commands are much the same, but for what stands in for their output.
      return linesOf(text).map((line) => ({
        text: line.text.replaceAll(/(?<=[\s"])\(/g, '$('),
        at: () => line.offset + indentAt(text, line.offset),
        perhaps: true,
      }));
    case 'makefile':
      return recipeLines(text).map((line) => ({
        text: line.text,
        at: () => line.offset + indentAt(text, line.offset),
      }));
    case 'justfile':
      return justfilePieces(text);
    case 'jenkinsfile':
      return jenkinsPieces(text);
    case 'package':
      return packagePieces(text);
    case 'dockerfile':
      return dockerfilePieces(text);
    case 'systemd':
      return linesOf(text).flatMap((line) => {
        const found = /^(\s*Exec\w+\s*=\s*[-@:+!]*)(.*)$/s.exec(line.text);
        return found === null ? [] : [shifted(found[2] ?? '', line.offset + (found[1] ?? '').length)];
      });
    case 'crontab':
      return linesOf(text).flatMap((line) => {
        const found = /^(\s*(?:@\w+\s+|(?:[\d*/,\-A-Za-z]+\s+){5}))(.*)$/s.exec(line.text);
        return found === null ? [] : [shifted(found[2] ?? '', line.offset + (found[1] ?? '').length)];
      });
  }
}

/** An alias is only a name until it is typed, and these are there to be typed. */
function aliasPieces(text: string): Piece[] {
  return [...text.matchAll(/^([ \t]*alias[ \t]+(?:-g[ \t]+)?[^\s=]+=(['"]))(.*)\2[ \t]*(?:#.*)?$/gm)].map(
    (found) => shifted(found[3] ?? '', found.index + (found[1] ?? '').length),
  );
}

function recipeLines(text: string): RecipeLine[] {
  const { targets, always } = parseMakefile(text);
  return [...always, ...new Set([...targets.values()].flatMap((target) => target.recipe))];
}

function justfilePieces(text: string): Piece[] {
  const found = new Map<string, Piece>();
  for (const { lines } of orderedFrom(parseJustfile(text), [SOME])) {
    // One script, of which a line by itself may be none.
    const perhaps = lines[0]?.text.startsWith('#!') === true;
    for (const line of lines)
      found.set(`${line.offset} ${line.text}`, {
        text: line.text.replace(/^[@-]+/, ''),
        at: () => line.offset + indentAt(text, line.offset),
        perhaps,
      });
  }
  return [...found.values()];
}

/** A fenced block of a Markdown file. */
export interface Fence {
  language: string;
  text: string;
  /** Where its text starts in the file. Its lines are as in the file, but for the indentation of the fence. */
  at: (offset: number) => number;
}

/** The fenced blocks of a Markdown text, also within lists and quotes. */
export function fencesOf(text: string): Fence[] {
  const found: Fence[] = [];
  let open: { mark: string; indent: number; language: string; lines: string[]; starts: number[] } | undefined;
  let offset = 0;
  for (const line of text.split('\n')) {
    const fence = /^([\s>]*)(`{3,}|~{3,})\s*\{?\.?([\w+-]*)/.exec(line);
    if (open === undefined) {
      if (fence !== null)
        open = {
          mark: fence[2] ?? '',
          indent: (fence[1] ?? '').length,
          language: (fence[3] ?? '').toLowerCase(),
          lines: [],
          starts: [],
        };
    } else if (fence?.[2]?.startsWith(open.mark) === true && (fence[3] ?? '') === '') {
      found.push(closed(open));
      open = undefined;
    } else {
      const indent = /^[\s>]*/.exec(line.slice(0, open.indent))?.[0].length ?? 0;
      open.lines.push(line.slice(indent));
      open.starts.push(offset + indent);
    }
    offset += line.length + 1;
  }
  if (open !== undefined) found.push(closed(open));
  return found;
}

function closed({ language, lines, starts }: { language: string; lines: string[]; starts: number[] }): Fence {
  return { language, text: lines.join('\n'), at: (offset) => placed(offset, lines, starts) };
}

/** Where an offset in joined lines is in the file. */
export function placed(offset: number, lines: readonly string[], starts: readonly number[]): number {
  let before = 0;
  for (const [index, line] of lines.entries()) {
    if (offset <= before + line.length) return (starts[index] ?? 0) + offset - before;
    before += line.length + 1;
  }
  return starts.at(-1) ?? 0;
}

/** What stands before what is typed: `$ `, `anna@host:/srv# `. A lone `#` is a comment. */
const prompt = /^\s*(?:\([\w-]+\) )?(?:\[?[\w.-]+@[\w.-]+[:\s][^\s#$%]*\s*[$#%]|\$) /;

/** A session at a prompt: only what stands behind a prompt is typed; the rest is blanked, so that places stay. */
export function typedIn(session: string): string {
  const lines = session.split('\n');
  if (!lines.some((line) => prompt.test(line))) return session;
  let goesOn = false;
  return lines
    .map((line) => {
      const before = prompt.exec(line)?.[0];
      const isTyped = before !== undefined || goesOn;
      goesOn = isTyped && line.endsWith('\\');
      const blank = isTyped ? (before?.length ?? 0) : line.length;
      return ' '.repeat(blank) + line.slice(blank);
    })
    .join('\n');
}

/** What a template puts in is unknown: an expansion of the same length stands for it. */
export function withoutTemplates(text: string): string {
  return text.replace(/\$?\{\{[^{}]*\}\}/g, (all) => `\${${'_'.repeat(all.length - 3)}}`);
}

function shifted(text: string, by: number): Piece {
  return { text, at: (offset) => by + offset };
}

function indentAt(text: string, offset: number): number {
  return /^[\t ]*/.exec(text.slice(offset, offset + 100))?.[0].length ?? 0;
}

/** Lines with their continuations, and without comments. */
function linesOf(text: string): { text: string; offset: number }[] {
  const found: { text: string; offset: number }[] = [];
  let offset = 0;
  let goesOn = false;
  for (const line of text.split('\n')) {
    const last = found.at(-1);
    // A comment within a continued line is no end of it.
    const isComment = /^\s*[#;]/.test(line);
    const plain: string = isComment ? (goesOn ? `${' '.repeat(Math.max(line.length - 1, 0))}\\` : '') : line;
    if (goesOn && last !== undefined) last.text += `\n${plain}`;
    else found.push({ text: plain, offset });
    goesOn = plain.endsWith('\\');
    offset += line.length + 1;
  }
  return found;
}

function packagePieces(text: string): Piece[] {
  let scripts: unknown;
  try {
    ({ scripts } = JSON.parse(text) as { scripts?: unknown });
  } catch {
    return [];
  }
  if (typeof scripts !== 'object' || scripts === null) return [];
  const start = Math.max(text.indexOf('"scripts"'), 0);
  return Object.entries(scripts).flatMap(([name, script]) => {
    const key = text.indexOf(JSON.stringify(name), start);
    // Several, in a composer.json.
    const commands = (Array.isArray(script) ? script : [script]).filter((one) => typeof one === 'string');
    return commands.map((command) => {
      const value = text.indexOf(JSON.stringify(command), Math.max(key, start));
      return { text: command, at: () => Math.max(value, key, 0) };
    });
  });
}

function dockerfilePieces(text: string): Piece[] {
  const found: Piece[] = [];
  for (const line of linesOf(text)) {
    const instruction =
      /^(\s*(?:ONBUILD\s+)?(?:HEALTHCHECK\s+(?:--\S+\s+)*CMD|RUN|CMD|ENTRYPOINT)\s+(?:--\S+\s+)*)(.*)$/is.exec(
        line.text,
      );
    if (instruction === null) continue;
    const [, before = '', command = ''] = instruction;
    const words = jsonWords(command);
    const start = line.offset + before.length;
    found.push(
      words === undefined
        ? { ...shifted(command, start), inside: true }
        : { text: words.map(asWord).join(' '), at: () => start, inside: true },
    );
  }
  return found;
}

/** The exec form: `["sh", "-c", "…"]`. */
function jsonWords(text: string): string[] | undefined {
  if (!text.trim().startsWith('[')) return undefined;
  try {
    const words = JSON.parse(text) as unknown;
    return Array.isArray(words) && words.every((word) => typeof word === 'string') ? words : undefined;
  } catch {
    return undefined;
  }
}
