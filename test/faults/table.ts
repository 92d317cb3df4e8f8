/** A fault, what must come of it, and the tests in which it is made to happen. docs/faults.md is written from this. */
export interface Fault {
  number: number;
  fault: string;
  /** In the words of docs/faults.md: untouched, nothing committed, rolled back, stopped safe. */
  required: string;
  /** A file of tests, and for some of them a part of the names of those that are meant; all of them else. */
  tests: readonly (readonly [file: string, name?: string])[];
  /** What is not tried, or cannot be promised. */
  limit?: string;
}

const untouched = 'untouched';
const rolledBack = 'rolled back';
const recovered = 'as before, or wholly new, after `recover`';

const e2e = (name: string): string => `test/e2e/${name}.test.ts`;
const faults = (name: string): string => `test/faults/${name}.test.ts`;

export const table: readonly Fault[] = [
  {
    number: 1,
    fault: 'kill -9 at the begin and the end of every step',
    required: recovered,
    tests: [
      [faults('killed-good-updates')],
      [faults('killed-bad-updates')],
      [faults('killed-undoing')],
      [faults('killed-restores')],
      [e2e('killed')],
    ],
  },
  {
    number: 2,
    fault: 'kill -9 in the middle of a step, and at random instants',
    required: recovered,
    tests: [
      [faults('killed-good-updates')],
      [faults('killed-bad-updates')],
      [faults('killed-undoing')],
      [faults('killed-restores')],
      [faults('killed-at-random')],
    ],
  },
  {
    number: 3,
    fault: 'SIGINT, SIGTERM, SIGHUP before anything is stopped',
    required: `${untouched}, exit 130, 143, 129`,
    tests: [[e2e('killed'), 'a signal before anything is stopped']],
  },
  {
    number: 4,
    fault: 'the same after that; a second one during the rollback',
    required: rolledBack,
    tests: [
      [e2e('killed'), 'a signal while the stack is down'],
      [e2e('killed'), 'a second and third one do not disturb'],
    ],
  },
  {
    number: 5,
    fault: 'power loss',
    required: 'a sealed backup is whole',
    tests: [[faults('power')]],
    limit: 'the order in which things are flushed is looked at; the power is not cut',
  },
  {
    number: 6,
    fault: 'the clock jumps by a year, passes the end of summer time, stands still',
    required: 'nothing changes; the order of backups stays',
    tests: [[faults('clock')]],
  },
  {
    number: 7,
    fault: 'several updates at once, from other folders and with other flags',
    required: 'one runs, the others are told who holds the lock',
    tests: [[e2e('lock'), 'several updates at once']],
  },
  {
    number: 8,
    fault: 'the lock of a dead process, of a reused pid, from before a boot, of another host',
    required: 'taken over where provably dead, else refused',
    tests: [[e2e('lock'), 'the lock of']],
  },
  {
    number: 9,
    fault: 'no space left for backups, at every size',
    required: 'nothing committed; what ran runs again',
    tests: [
      [faults('disk'), 'no space left'],
      [e2e('bad-input'), 'no space left in the middle'],
    ],
  },
  {
    number: 10,
    fault: 'no space left on the engine, while it pulls and while data is put back',
    required: `pull: ${untouched}; later: ${rolledBack} or stopped safe`,
    tests: [[faults('engine-disk')]],
  },
  {
    number: 11,
    fault: 'a system call that fails: EIO, ENOSPC, EROFS on fsync, rename, mkdir',
    required: 'nothing committed; what ran runs again',
    tests: [[faults('disk'), 'a system call that fails']],
    limit: 'EMFILE and short writes are not injected',
  },
  {
    number: 12,
    fault: 'one bit of a backup flipped, anywhere',
    required: 'found before a volume is touched',
    tests: [[faults('archives')]],
  },
  {
    number: 13,
    fault: 'parts cut short, longer, swapped; the archive of one volume under the name of another',
    required: 'found before a volume is touched',
    tests: [[faults('archives')]],
    limit: 'a backup in which everything was made to fit is a backup',
  },
  {
    number: 14,
    fault: 'the manifest is missing, empty, newer; a file too many',
    required: 'said, and never offered as a backup',
    tests: [
      [faults('archives'), 'manifest'],
      [e2e('commands'), 'what is not whole says why'],
    ],
  },
  {
    number: 15,
    fault: 'an archive that would write outside of its volume',
    required: 'nothing outside changes',
    tests: [['test/integration/fidelity.test.ts', 'a malicious archive']],
  },
  {
    number: 16,
    fault: 'dockerd is ended in the middle of a backup, with live-restore and without',
    required: 'nothing committed; what ran runs again',
    tests: [
      [faults('engine'), 'in the step dump'],
      [faults('engine'), 'in the step archive'],
      [faults('live-restore')],
    ],
  },
  {
    number: 17,
    fault: 'dockerd is killed while the release starts, and in the rollback',
    required: `${rolledBack}, or wholly new`,
    tests: [
      [faults('engine'), 'in the step up'],
      [faults('engine'), 'killed in the rollback'],
    ],
  },
  {
    number: 18,
    fault: 'a registry that is down, says 401, 429 or 500, or stalls in a layer',
    required: `${untouched}, no downtime`,
    tests: [[faults('registry')], [e2e('registry')]],
  },
  {
    number: 19,
    fault: 'an image that is missing, for another machine, not to be pulled, or cannot be built',
    required: `${untouched}, the reason for each service`,
    tests: [[faults('registry')]],
  },
  {
    number: 20,
    fault: 'the tag means another image after the backup',
    required: 'the rollback runs the recorded image',
    tests: [[e2e('bad-release')]],
  },
  {
    number: 21,
    fault: 'the former image is pruned',
    required: 'pulled again by its digest, or refused before anything is touched',
    tests: [[faults('engine'), 'somebody prunes everything']],
  },
  {
    number: 22,
    fault: 'a one-shot that ends with 0, with 1, or never',
    required: `0: good; else ${rolledBack}`,
    tests: [
      [faults('health'), 'a one-shot'],
      [e2e('topology'), 'one-shot'],
      [e2e('edge'), 'one-shots'],
    ],
  },
  {
    number: 23,
    fault: 'a release that never becomes healthy',
    required: rolledBack,
    tests: [[e2e('bad-release'), 'unhealthy']],
  },
  {
    number: 24,
    fault: 'a release that crashes again and again',
    required: rolledBack,
    tests: [[e2e('bad-release'), 'crash']],
  },
  {
    number: 25,
    fault: 'a release that is healthy for a few seconds, then dies',
    required: rolledBack,
    tests: [[e2e('bad-release'), 'flaky']],
    limit: 'not fifty times',
  },
  {
    number: 26,
    fault: 'the former release is not healthy either after the rollback',
    required: 'its data is back; stopped safe, said aloud',
    tests: [[faults('health'), 'the former release is not well either']],
  },
  {
    number: 27,
    fault: 'a dump that fails half way',
    required: `${untouched}, nothing committed`,
    tests: [[faults('dumps'), 'pg_dump']],
  },
  {
    number: 28,
    fault: 'a dump that ends well and is truncated, empty, or a web page',
    required: `${untouched}, nothing committed`,
    tests: [[faults('dumps'), 'pg_dump']],
  },
  {
    number: 29,
    fault: 'a dump that hangs, or waits for a locked table',
    required: `${untouched}; ended in the container too`,
    tests: [[faults('dumps'), 'the limit ends it']],
  },
  {
    number: 30,
    fault: 'a password that was rotated, is in a file, has `$` in it, was changed too late; no password',
    required: `works, or ${untouched}; never an empty dump`,
    tests: [[faults('dumps'), 'logins']],
  },
  {
    number: 31,
    fault: 'a new release migrates the data, then fails',
    required: rolledBack,
    tests: [[e2e('bad-migration')], [e2e('stacks/f-brain'), 'another major version']],
    limit: 'another major version of a database is refused, so its migration of files is never begun',
  },
  {
    number: 32,
    fault: 'names with line feeds and bytes of no encoding, of 255 bytes, paths of 4,000 bytes',
    required: 'back to the byte; a longer path is refused',
    tests: [['test/integration/fidelity.test.ts'], [faults('contents')]],
  },
  {
    number: 33,
    fault:
      'sparse files, hard links, fifos, devices, attributes, setuid, nanoseconds, links to anywhere, empty volumes',
    required: 'back to the byte',
    tests: [['test/integration/fidelity.test.ts'], [faults('contents')]],
    limit: 'sockets are left out and named; the immutable flag is not kept',
  },
  {
    number: 34,
    fault: 'a file grows, or comes and goes, while it is archived',
    required: 'cold: an error; hot: said to be inexact',
    tests: [[faults('dumps'), 'a writer outside of the project']],
  },
  {
    number: 35,
    fault: 'data in an anonymous volume, in an image’s VOLUME that moves, beside the declared volume',
    required: 'carried over, or refused',
    tests: [[e2e('topology')], [e2e('refusal')], [e2e('data-places')]],
  },
  {
    number: 36,
    fault: 'a volume is missing, external, has another name or other driver options',
    required: 'made again where it was ours, else refused',
    tests: [[e2e('refusal')], [e2e('by-hand'), 'no longer has']],
  },
  {
    number: 37,
    fault: 'a database on a bind mount',
    required: 'backed up and put back like a volume',
    tests: [[e2e('topology'), 'a bind mount']],
  },
  {
    number: 38,
    fault: 'another project writes to a volume',
    required: 'refused, unless allowed by name',
    tests: [[e2e('refusal'), 'who else writes to a volume']],
  },
  {
    number: 39,
    fault: 'compose files and .env are edited or deleted meanwhile',
    required: `${rolledBack}; the files stay as they are`,
    tests: [[faults('hands'), 'files that are']],
  },
  {
    number: 40,
    fault: 'the project or its folder is renamed',
    required: 'refused: never on new, empty volumes',
    tests: [[faults('hands'), 'the folder is renamed']],
  },
  {
    number: 41,
    fault: 'secrets in the environment, in addresses, files and labels; umask 000',
    required: 'in nothing that is written, said or started; 0700 and 0600 from the first moment',
    tests: [
      [faults('secrets'), 'a secret'],
      [e2e('bad-input'), 'no password in any command line'],
    ],
  },
  {
    number: 42,
    fault: 'folders, labels, paths and databases with commands for names',
    required: 'names, and nothing else',
    tests: [[faults('secrets'), 'whose names are commands']],
  },
  {
    number: 43,
    fault: 'retention with one good backup; killed while it deletes',
    required: 'the last good and the last proven one stay; nothing half looks whole',
    tests: [
      [faults('killed-at-random'), 'a prune'],
      ['test/conformance/store.test.ts'],
      ['test/unit/backup/retention.test.ts'],
    ],
  },
  {
    number: 44,
    fault: 'somebody prunes volumes, images and the system while the stack is down',
    required: 'nothing lost',
    tests: [[faults('engine'), 'somebody prunes everything']],
  },
  {
    number: 45,
    fault: 'docker compose up, stop, rm by hand in the middle',
    required: `${rolledBack}, or stopped safe`,
    tests: [[faults('hands'), 'by hand']],
  },
  {
    number: 46,
    fault: 'the helper is killed; its image is missing',
    required: 'redone, or refused; never half',
    tests: [[faults('dumps'), 'the helper']],
  },
  {
    number: 47,
    fault: 'kill -9 or a signal in a rollback, a restore, a prune, a recover',
    required: recovered,
    tests: [
      [faults('killed-undoing')],
      [faults('killed-restores')],
      [faults('killed-at-random')],
      [e2e('interrupted')],
      [e2e('killed')],
    ],
  },
  {
    number: 48,
    fault: 'a rollback that is blocked: a port is taken, the backup is damaged',
    required: 'stopped safe; `recover` completes it once the cause is gone',
    tests: [
      [e2e('bad-migration'), 'blocked'],
      [faults('archives'), 'a rollback whose backup'],
    ],
  },
  {
    number: 49,
    fault: 'a restore that fails half way',
    required: 'what was there before can still be had; again completes it',
    tests: [
      [faults('killed-restores'), 'a restore'],
      [faults('engine-disk'), 'put back'],
    ],
  },
  {
    number: 50,
    fault: 'a torn line in the journal; journal, record or lock removed in the middle',
    required: 'recovered from what is left, or stopped safe',
    tests: [
      [faults('hands'), 'journal'],
      [faults('hands'), 'its lock is taken away'],
      [faults('hands'), 'the record of the stack is gone'],
    ],
  },
  {
    number: 51,
    fault: 'an encrypted backup: no key, a wrong key, decrypted with age, zstd and tar alone',
    required: 'a clear error; equal content',
    tests: [[e2e('encrypted')], ['test/unit/backup/encrypted.test.ts']],
  },
  {
    number: 52,
    fault: 'another local user reads backups, or plants a folder, a link, a configuration',
    required: 'refused',
    tests: [[faults('users')]],
    limit: 'who may use the engine is root on it, and members of a file’s group are trusted',
  },
  {
    number: 53,
    fault: 'two replicas, unhealthy only in the second; profiles; numbers that change',
    required: `${rolledBack}, the same numbers as before`,
    tests: [[faults('health'), 'two replicas'], [e2e('topology')], [e2e('edge'), 'more replicas']],
  },
  {
    number: 54,
    fault: 'healthy but empty',
    required: rolledBack,
    tests: [[e2e('healthy-but-empty')], [e2e('sqlite'), 'empties a SQLite file']],
  },
  {
    number: 55,
    fault: 'a backup folder that is read-only, foreign, a symlink, out of inodes, moved away or removed',
    required: `${untouched}; later: what ran runs again`,
    tests: [
      [faults('disk'), 'a backup folder that is not as it should be'],
      [faults('disk'), 'no inodes left'],
    ],
  },
  {
    number: 56,
    fault:
      'the engine is started anew between two runs, networks and ids are others; Engine 26 with Compose 2.26, and their upgrade',
    required: 'the same results',
    tests: [[faults('engine'), 'is started anew between two runs'], [faults('versions')]],
  },
];
