import { vocabulary } from './grammar/engine.ts';
import {
  composeCommands,
  composeGlobals,
  engineCommands,
  harmlessComposeCommands,
} from './grammar/tables.ts';
import type { FlagTable } from './flags.ts';
import { asWord, judge } from './shell.ts';

/** The commands a shim stands before. */
export const shimNames = ['docker', 'docker-compose', 'podman'] as const;

export type ShimName = (typeof shimNames)[number];

/** A file of this name says that a folder holds shims, so that they pass over each other. */
export const shimMarker = '.safe-update-guard';

/** What a shim starts for what it cannot decide itself: absolute paths. */
export interface Guard {
  node: string;
  bin: string;
}

/**
 * Given a command's name, return the POSIX shell script that stands before it. It lets through by itself what the tables of the
 * grammar know as harmless whatever follows, with nothing but the shell's builtins; all else it asks `guard check --shim`
 * about. What it lets through by itself, the verdict would let through in silence.
 */
export function shimText(name: ShimName, { node, bin }: Guard): string {
  return `#!/bin/sh
# safe-update guard: stands before ${name} and refuses what deletes volumes.
# Made by "safe-update guard install shell", taken out by "safe-update guard uninstall shell". Changes in here get lost.

node=${asWord(node)}
bin=${asWord(bin)}

# What is decided here and now: 0 for what is harmless, 1 for all that needs a closer look.
harmless() {
  all="$*"
  [ \${#all} -lt 8000 ] || return 1
${indent(name === 'docker-compose' ? 'compose "$@"' : engineWalk(name))}
}

compose() {
${indent(composeWalk(name))}
}
${name === 'docker-compose' ? '' : `\npayload() {\n${indent(payloadCheck(`${name} exec`, engineCommands.exec))}\n}\n`}
# Compose asks whether it may delete and make anew a volume whose definition has changed. What is no terminal must not say
# yes to that, so these read nothing, unless that is where a compose file comes from.
reads_nothing() {
  [ -n "$asks" ] && ! [ -t 0 ] || return 1
  for word in "$@"; do
    case $word in
      - | *=- | -?- | *=/dev/* | *=/proc/* | /dev/* | /proc/* | -?/dev/* | -?/proc/*) return 1 ;;
    esac
  done
}

say() {
  printf '%s\\n' "safe-update guard: $1" >&2
}

asks=
judged=yes
harmless "$@" && judged=

# The next ${name} in PATH that is none of these. A folder with a marker holds only such scripts.
real=
path=
rest=$PATH:
while [ -n "$rest" ]; do
  folder=\${rest%%:*}
  rest=\${rest#*:}
  case $folder in
    /*) ;;
    *) folder=./$folder ;;
  esac
  [ -e "$folder/${shimMarker}" ] && continue
  path=$path\${path:+:}$folder
  if [ -z "$real" ] && [ -f "$folder/${name}" ] && [ -x "$folder/${name}" ] && ! [ "$folder/${name}" -ef "$0" ]; then
    real=$folder/${name}
  fi
done

if [ -n "$judged" ]; then
  if ! [ -x "$node" ]; then
    why="there is no $node"
  elif ! [ -r "$bin" ]; then
    why="there is no $bin"
  else
    NODE_OPTIONS= PATH=$path "$node" "$bin" guard check --shim -- ${name} "$@" </dev/null >&2
    code=$?
    case $code in
      0) why= ;;
      2) exit 2 ;;
      *) why="it ended with exit code $code" ;;
    esac
  fi
  if [ -n "$why" ]; then
    say "refused, as the guard cannot judge this command: $why."
    say "Install safe-update again, then: safe-update guard install shell"
    say "Until then, what only looks still works: ${name} ps, ${name} logs. To do without the guard, a person takes the"
    say "folder of $0 out of PATH."
    exit 2
  fi
fi

if [ -z "$real" ]; then
  say "${name}: not found in PATH behind $0"
  exit 127
fi

# exec keeps the process: whoever comes by here again and again in the same one goes round in circles.
case \${SAFE_UPDATE_SHIM-} in
  "$$ xxxxxxxx"*)
    say "${name}: $real leads back here. Take copies of $0 out of PATH."
    exit 127
    ;;
  "$$ "*) SAFE_UPDATE_SHIM=\${SAFE_UPDATE_SHIM}x ;;
  *) SAFE_UPDATE_SHIM="$$ x" ;;
esac
export SAFE_UPDATE_SHIM

reads_nothing "$@" && exec "$real" "$@" </dev/null
exec "$real" "$@"
`;
}

/** `docker`, `podman`: globals, then a name. */
function engineWalk(engine: 'docker' | 'podman'): string {
  const { globals, plain, management, judged } = vocabulary(engine);
  const below = judged.filter((name) => name.includes(' ')).map((name) => name.replace(' ', '\\ '));
  return `${globalsLoop(globals)}
case \${1-} in
  compose)
    shift
    compose "$@"
    ;;
  exec)
    shift
    payload "$@"
    ;;
  ${alternatives(['', ...plain])}) return 0 ;;
  ${alternatives(management)})
    case "$1 \${2-}" in
      ${alternatives(below)}) return 1 ;;
    esac
    case \${2-} in
      ${unusual}) return 1 ;;
    esac
    ;;
  *) return 1 ;;
esac`;
}

function composeWalk(name: ShimName): string {
  const front = name === 'docker-compose' ? name : `${name} compose`;
  const { up, create, rm } = composeCommands;
  return `${globalsLoop(composeGlobals)}
case \${1-} in
  ${alternatives(asking)}) asks=yes ;;
esac
case \${1-} in
  ${alternatives(['', ...[...harmlessComposeCommands].sort()])}) return 0 ;;
${Object.entries({ up, create, rm })
  .map(
    ([command, table]) =>
      `  ${command})\n    shift\n${indent(flagLoop(`${front} ${command}`, table), 4)}\n    ;;`,
  )
  .join('\n')}
  exec)
    shift
${indent(payloadCheck(`${front} exec`, composeCommands.exec), 4)}
    ;;
  *) return 1 ;;
esac`;
}

/** Subcommands of compose that ask before they make a changed volume anew, and have no other use for standard input [ran]. */
const asking = ['up', 'create', 'scale', 'watch'];

/** Skips flags before a subcommand. Combined ones, unknown ones and `--` are not for here. */
function globalsLoop(table: FlagTable): string {
  return `while :; do
  case \${1-} in
${indent(flagCases(names(table)), 4)}
    -*) return 1 ;;
    *) break ;;
  esac
done`;
}

/** All that follows is flags of which the verdict says nothing, and plain words. */
function flagLoop(command: string, table: FlagTable): string {
  return `while [ $# -gt 0 ]; do
  case $1 in
${indent(flagCases(silent(command, table)), 4)}
    ${unusual}) return 1 ;;
    *) shift ;;
  esac
done`;
}

/** Flags, a container, and nothing but a shell in it. */
function payloadCheck(command: string, table: FlagTable): string {
  const shells = ['sh', 'bash', 'ash', 'zsh', '/bin/sh', '/bin/bash'].filter((shell) =>
    isSilent(`${command} web ${shell}`),
  );
  return `while :; do
  case \${1-} in
${indent(flagCases(silent(command, table)), 4)}
    ${unusual}) return 1 ;;
    *) break ;;
  esac
done
[ $# -eq 2 ] || return 1
case $2 in
  ${alternatives(shells)}) ;;
  *) return 1 ;;
esac`;
}

/** Words that are no plain names: flags, nothing, or with characters of which the guard may think more. No ranges: they depend on the language. */
const unusual = "'' | -* | *[!abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-]*";

interface Names {
  switches: string[];
  values: string[];
}

function names(table: FlagTable): Names {
  const all = [...table.names];
  return {
    switches: all.filter(([, { value }]) => !value).map(([name]) => name),
    values: all.filter(([, { value }]) => value).map(([name]) => name),
  };
}

/** The flags that the verdict has nothing to say about. */
function silent(command: string, table: FlagTable): Names {
  const { switches, values } = names(table);
  return {
    switches: switches.filter((flag) => isSilent(`${command} ${flag}`)),
    values: values.filter((flag) => isSilent(`${command} ${flag} x`)),
  };
}

function isSilent(command: string): boolean {
  const { findings, hints } = judge(command);
  return findings.length === 0 && hints.length === 0;
}

/** Cases that shift flags away, with their values; short switches also combined: `-it`. */
function flagCases({ switches, values }: Names): string {
  const letters = switches.filter((name) => /^-[^-]$/.test(name)).map((name) => name.slice(1));
  const attached = values.map((name) => (name.startsWith('--') ? `${name}=*` : `${name}?*`));
  return [
    values.length === 0 ? '' : `${alternatives(values)})\n  [ $# -gt 1 ] || return 1\n  shift 2\n  ;;`,
    values.length === 0 ? '' : `${alternatives(attached)}) shift ;;`,
    `${alternatives(switches)}) shift ;;`,
    letters.length === 0
      ? ''
      : `-[!-]*)\n  case \${1#-} in\n    *[!${letters.join('')}]*) return 1 ;;\n  esac\n  shift\n  ;;`,
  ]
    .filter((text) => text !== '')
    .join('\n');
}

/** Patterns of a case, in lines that can be read. */
function alternatives(patterns: readonly string[]): string {
  const lines: string[] = [];
  let line = '';
  for (const pattern of patterns.map((each) => (each === '' ? "''" : each))) {
    if (line.length + pattern.length > 90) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? pattern : ` | ${pattern}`;
  }
  return [...lines, line].join(' | \\\n    ');
}

function indent(text: string, by = 2): string {
  return text.replace(/^(?=.)/gm, ' '.repeat(by));
}
