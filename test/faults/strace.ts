/** What strace writes down, read again. */

/** A system call, from strace -f -y -o FILE. */
export interface Call {
  name: string;
  /** As strace shows them: descriptors with their path, `fsync(21</srv/file>)`. */
  args: string;
  /** What it returned; undefined where it never did. */
  result: number | undefined;
  /** Places in the order of all that happened: when it was called, and when it returned. */
  from: number;
  to: number;
}

/** Given the file, returns the calls in the order in which they were made. Pure. */
export function readTrace(text: string): Call[] {
  const calls: Call[] = [];
  const open = new Map<string, Call>();
  for (const [at, line] of text.split('\n').entries()) {
    const [, pid = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. (\w+) resumed>(.*)$/.exec(rest);
    const begun = /^(\w+)\((.*)$/.exec(rest);
    if (resumed !== null) {
      const call = open.get(pid);
      if (call === undefined) continue;
      open.delete(pid);
      finish(call, call.args + (resumed[2] ?? ''), at);
    } else if (begun !== null) {
      const call: Call = { name: begun[1] ?? '', args: '', result: undefined, from: at, to: Infinity };
      calls.push(call);
      const unfinished = /^(.*?)\s*<unfinished \.\.\.>$/.exec(begun[2] ?? '');
      if (unfinished === null) finish(call, begun[2] ?? '', at);
      else {
        call.args = unfinished[1] ?? '';
        open.set(pid, call);
      }
    }
  }
  return calls;
}

function finish(call: Call, rest: string, at: number): void {
  const [, args = rest, result] = /^(.*)\)\s+= (-?\d+).*$/.exec(rest) ?? [];
  call.args = args;
  call.to = at;
  call.result = result === undefined ? undefined : Number(result);
}

/** The path of the descriptor that a call is about; empty where it has none. Pure. */
export function fileOf({ args }: Call): string {
  return /^\d+<([^>]*)>/.exec(args)?.[1] ?? '';
}

/** The words between quotes among a call's arguments. Pure. */
export function wordsOf({ args }: Call): string[] {
  return [...args.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word]) => word ?? '');
}
