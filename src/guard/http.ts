import { judgeApi } from './api.ts';
import { flags, parseFlags, valueOf } from './flags.ts';
import { takenElsewhere, type Invocation, type Machine } from './invocation.ts';

import { isUnknown, known } from './unknown.ts';
import { shownWords } from './words.ts';

const curl = flags(
  '-X --request=',
  '--unix-socket=',
  '--abstract-unix-socket=',
  '--url=',
  '--request-target=',
  '-d --data= --data-raw= --data-binary= --data-urlencode= --data-ascii= --json=',
  '-F --form= --form-string=',
  '-G --get',
  '-I --head',
  '-T --upload-file=',
  '-H --header=',
  '-o --output=',
  '-w --write-out=',
  '-u --user=',
  '-A --user-agent=',
  '-b --cookie=',
  '-c --cookie-jar=',
  '-e --referer=',
  '-m --max-time=',
  '--connect-timeout=',
  '-x --proxy=',
  '-E --cert=',
  '--key=',
  '--cacert=',
  '--capath=',
  '--retry=',
  '--retry-delay=',
  '-K --config=',
  '-D --dump-header=',
  '-C --continue-at=',
  '-r --range=',
  '-y --speed-time=',
  '-Y --speed-limit=',
  '-z --time-cond=',
  '-U --proxy-user=',
  '-P --ftp-port=',
  '-Q --quote=',
  '-t --telnet-option=',
  '--resolve=',
  '--interface=',
);

/** What sends its standard input as it is. */
export const rawClients = new Set(['nc', 'ncat', 'netcat', 'socat']);

/** Report a request that is written by hand: `printf 'POST /volumes/prune HTTP/1.0…' | nc -U /run/docker.sock`. */
export function judgeRaw(invocation: Invocation, machine: Machine): void {
  if (!invocation.words.some((word) => /docker|podman|\.sock\b|\b237[56]\b/i.test(word))) return;
  for (const line of (invocation.stdin ?? '').split('\n', mostLines)) {
    const [, method = '', address = ''] = /^([A-Z]+) (\S+) HTTP/.exec(line) ?? [];
    const draft = judgeApi({ method, address });
    if (draft !== undefined) machine.report(takenElsewhere(invocation, shownWords(invocation.words)), draft);
  }
}

/** Lines of a request's text that are looked through. */
const mostLines = 1000;

/** Report a request to an engine's socket that loses something. */
export function judgeHttp(name: string, invocation: Invocation, machine: Machine): void {
  const words = invocation.words.slice(1);
  const parsed = parseFlags(curl, words, { interspersed: true });
  // What comes after # is not sent.
  const urls = [
    ...parsed.rest,
    ...['url', 'request-target'].flatMap((flag) => parsed.given.get(flag) ?? []),
  ].map((url) => url.replace(/#.*$/s, ''));
  let method: string;
  if (name === 'curl') {
    const hasBody = ['data', 'form'].some((flag) => parsed.given.has(flag)) && !parsed.given.has('get');
    method = valueOf(parsed, 'request') ?? (hasBody ? 'POST' : 'GET');
  } else if (name === 'wget')
    method = valueOf(parsed, 'method') ?? (words.some((word) => word.startsWith('--post-')) ? 'POST' : 'GET');
  else method = parsed.rest.find((word) => /^(GET|POST|PUT|DELETE)$/i.test(word)) ?? 'GET';

  const socket = ['unix-socket', 'abstract-unix-socket'].some((flag) => parsed.given.has(flag));
  for (const url of urls) {
    if (!socket && !/^([a-z+]+:\/\/)?[^/]*(:237[56]\b|docker|%2Frun%2F|\.sock)/i.test(url)) continue;
    for (const verb of isUnknown(method) ? ['DELETE', 'POST'] : [method]) {
      const draft = judgeApi({ method: verb, address: url.includes('://') ? url : `http://${url}` });
      if (draft === undefined) continue;
      // Whose socket that is, nobody has looked up.
      machine.report(takenElsewhere(invocation, shownWords(invocation.words)), {
        ...draft,
        ...(known(method) === '' ? { rule: 'unknown' } : {}),
      });
      return;
    }
  }
}
