import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, uptime } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import type { Finding, Losses } from '../../guard/verdict.ts';
import { thisProcess } from '../owner.ts';

/** One destructive command with all that gives it its meaning: what an approval is of. */
export interface Act {
  rule: Finding['rule'];
  command: string;
  /** The folder it would run in. */
  cwd?: string | undefined;
  within?: string | undefined;
  elsewhere?: readonly string[] | undefined;
  through?: readonly string[] | undefined;
  containers?: readonly string[] | undefined;
  /** The address of the engine here, and the engine's own id where it answered. */
  endpoint: string;
  engine?: string | undefined;
  /** As the engine has it at this moment. */
  project?: string | undefined;
  /** All volumes that would go, as far as they are known. */
  volumes: readonly string[];
}

/** Given a finding, what it would lose, and where the engine is, return what an approval of it is bound to. Pure. */
export function actOf(
  finding: Finding,
  losses: Losses | undefined,
  { endpoint, engine }: { endpoint: string; engine?: string | undefined },
): Act {
  const { rule, command, cwd, within, elsewhere, through, containers } = finding;
  return {
    ...{ rule, command, cwd, within, elsewhere, through, containers, endpoint, engine },
    project: losses?.project ?? finding.project,
    volumes: [...new Set([...(finding.volumes ?? []), ...(losses?.volumes.map(({ name }) => name) ?? [])])],
  };
}

/** A moment by two clocks: the one people set, and the one that only ever counts up from the start of the machine. */
export interface Moment {
  /** Milliseconds since the epoch. */
  wall: number;
  /** What tells this start of the machine from others; empty where that cannot be known. */
  boot: string;
  /** Milliseconds since then. */
  uptime: number;
}

export function thisMoment(): Moment {
  return { wall: Date.now(), boot: thisProcess().boot, uptime: uptime() * 1000 };
}

/** An approval as it lies on disk. */
export interface Approval extends Act {
  format: 1;
  id: string;
  /** Who gave it. */
  by: string;
  made: Moment;
  /** Milliseconds that it holds. */
  holds: number;
}

/**
 * Where it has been used: nowhere yet; by an agent's hook, so that the shim which the same command then meets lets it pass;
 * or used up.
 */
export type Use = 'unused' | 'hook' | 'used';

/** Who asks. A hook asks before the shell runs, and a shim inside of it: one command may meet both. */
export type Gate = 'check' | 'hook' | 'shim';

/**
 * Where this user's approvals are. Those of root are where the engine's plugin finds them, whatever variables a shell has:
 * /var/lib/safe-update/approvals.
 */
export function approvalsFolder(
  env: Readonly<Record<string, string | undefined>> = process.env,
  uid: number | undefined = process.getuid?.(),
): string {
  if (uid === 0) return '/var/lib/safe-update/approvals';
  const state = env['XDG_STATE_HOME'] ?? '';
  // A relative one is to be ignored, says the specification.
  return join(isAbsolute(state) ? state : join(homedir(), '.local', 'state'), 'safe-update', 'approvals');
}

/** Whether an approval holds at a moment: by both clocks, and only as long as the machine was not started again. Pure. */
export function holdsAt({ made, holds }: Pick<Approval, 'made' | 'holds'>, now: Moment): boolean {
  const within = (since: number): boolean => since >= 0 && since < holds;
  // Both clocks are read one after the other: let them differ by a second.
  return (
    made.boot === now.boot && within(now.wall - made.wall + 1000) && within(now.uptime - made.uptime + 1000)
  );
}

/** Whether an approval is of this act: the same command in the same place, and no volume more than was approved. Pure. */
export function covers(approved: Act, act: Act): boolean {
  const key = ({ volumes: _, ...rest }: Act): string =>
    JSON.stringify(
      (
        [
          'rule',
          'command',
          'cwd',
          'within',
          'elsewhere',
          'through',
          'containers',
          'endpoint',
          'engine',
          'project',
        ] as const
      ).map((name) => rest[name] ?? null),
    );
  return key(approved) === key(act) && act.volumes.every((name) => approved.volumes.includes(name));
}

/**
 * Keeps an approval of each act, for so many milliseconds. Each is one file that only its owner may read, whole or not there.
 * Returns the ids. Throws if the folder cannot be made, or is open to others.
 */
export function keepApprovals(
  acts: readonly Act[],
  milliseconds: number,
  folder: string = approvalsFolder(),
  now: Moment = thisMoment(),
): string[] {
  mkdirSync(dirname(folder), { recursive: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (!isPrivate(lstatSync(folder), 'folder'))
    throw new Error(`${folder} is open to others: remove it, or make it yours alone (chmod 0700)`);
  clear(folder, now);
  return acts.map((act) => {
    const id = process.getBuiltinModule('node:crypto').randomBytes(4).toString('hex');
    const approval: Approval = {
      ...act,
      format: 1,
      id,
      by: thisProcess().person,
      made: now,
      holds: milliseconds,
    };
    const draft = join(folder, `.${id}.partial`);
    const file = openSync(draft, 'wx', 0o600);
    try {
      writeFileSync(file, `${JSON.stringify(approval, null, 2)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, join(folder, nameOf(id, 'unused')));
    return id;
  });
}

/**
 * Uses up an approval of each of these acts. Returns their ids; undefined unless there is one for each. Of two who want the
 * same one at once, one gets it: a file can be renamed only once. Never throws.
 */
export function useApprovals(
  acts: readonly Act[],
  gate: Gate,
  folder: string = approvalsFolder(),
  now: Moment = thisMoment(),
): string[] | undefined {
  const all = readApprovals(folder).filter(({ approval }) => holdsAt(approval, now));
  const taken: typeof all = [];
  for (const act of acts) {
    const found = all.find(
      (one) => isOpenTo(gate, one.use) && !taken.includes(one) && covers(one.approval, act),
    );
    if (found === undefined) return undefined;
    taken.push(found);
  }
  // In one order for everybody, so that of two who want the same ones, one gets them all.
  for (const { approval, use } of taken.toSorted((a, b) => a.approval.id.localeCompare(b.approval.id))) {
    const next = gate === 'hook' ? 'hook' : 'used';
    try {
      renameSync(join(folder, nameOf(approval.id, use)), join(folder, nameOf(approval.id, next)));
    } catch {
      return undefined;
    }
  }
  return taken.map(({ approval }) => approval.id);
}

function isOpenTo(gate: Gate, use: Use): boolean {
  return use === 'unused' || (use === 'hook' && gate === 'shim');
}

/** A request to the engine that deletes something: a volume, or a container together with its anonymous volumes. */
export type ApiRequest =
  { kind: 'volume'; name: string } | { kind: 'container'; project?: string; name?: string };

/**
 * For who stands before the engine itself: whether an approval, used by then or not, covers a request that its command makes.
 * Each of its volumes may be deleted once, containers of its project as long as it holds. Returns the approval's id. Reads the
 * approvals of the user it runs as; `engine` is the engine's own id, where it is known. Never throws.
 */
export function useForApi(
  request: ApiRequest,
  {
    engine,
    folder = approvalsFolder(),
    now = thisMoment(),
  }: { engine?: string; folder?: string; now?: Moment } = {},
): string | undefined {
  for (const { approval } of readApprovals(folder)) {
    const { elsewhere, endpoint } = approval;
    const isHere = elsewhere === undefined && /^(unix|npipe):/.test(endpoint);
    const isThis = engine === undefined || approval.engine === undefined || approval.engine === engine;
    if (!isHere || !isThis || !holdsAt(approval, now)) continue;
    if (request.kind === 'container') {
      if (coversContainer(approval, request)) return approval.id;
    } else if (approval.volumes.includes(request.name) && takeVolume(folder, approval.id, request.name))
      return approval.id;
  }
  return undefined;
}

function coversContainer(
  { rule, project, containers = [] }: Approval,
  request: Extract<ApiRequest, { kind: 'container' }>,
): boolean {
  if (rule !== 'down-volumes' && rule !== 'rm-volumes') return false;
  if (containers.length > 0) return request.name !== undefined && containers.includes(request.name);
  return project !== undefined && project === request.project;
}

/** True for the first who asks. */
function takeVolume(folder: string, id: string, volume: string): boolean {
  const { createHash } = process.getBuiltinModule('node:crypto');
  const name = createHash('sha256').update(volume).digest('hex').slice(0, 32);
  try {
    closeSync(openSync(join(folder, `${id}.volume-${name}`), 'wx', 0o600));
    return true;
  } catch {
    return false;
  }
}

export interface KeptApproval {
  approval: Approval;
  use: Use;
}

/** Those that hold, oldest first. */
export function listApprovals(folder: string = approvalsFolder(), now?: Moment): KeptApproval[] {
  const kept = readApprovals(folder);
  // Most have none, and to look at the clocks takes longer than that.
  if (kept.length === 0) return [];
  const moment = now ?? thisMoment();
  return kept.filter(({ approval }) => holdsAt(approval, moment));
}

/** Takes an approval back. Returns whether there was one of that id. */
export function revokeApproval(id: string, folder: string = approvalsFolder()): boolean {
  const found = readApprovals(folder).some(({ approval }) => approval.id === id);
  if (found) removeAll(folder, id);
  return found;
}

/** Removes what no longer holds. */
function clear(folder: string, now: Moment): void {
  for (const { approval } of readApprovals(folder))
    if (!holdsAt(approval, now)) removeAll(folder, approval.id);
}

function removeAll(folder: string, id: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(`${id}.`)) continue;
    try {
      unlinkSync(join(folder, name));
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT') throw error;
    }
  }
}

function nameOf(id: string, use: Use): string {
  return use === 'unused' ? `${id}.json` : `${id}.${use}.json`;
}

const filePattern = /^([0-9a-f]{8})(?:\.(hook|used))?\.json$/;

/** All that can be trusted: nobody but this user could have written it. Oldest first; none if the folder is not private. */
function readApprovals(folder: string): KeptApproval[] {
  const found: KeptApproval[] = [];
  try {
    if (!isPrivate(lstatSync(folder), 'folder')) return [];
    for (const name of readdirSync(folder)) {
      const [, id, use = 'unused'] = filePattern.exec(name) ?? [];
      const approval = id === undefined ? undefined : readApproval(join(folder, name));
      if (approval !== undefined && approval.id === id) found.push({ approval, use: use as Use });
    }
  } catch {
    return found;
  }
  return found.sort((one, other) => one.approval.made.wall - other.approval.made.wall);
}

function readApproval(path: string): Approval | undefined {
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const about = fstatSync(file);
    if (!about.isFile() || about.nlink !== 1 || !isPrivate(about, 'file')) return undefined;
    const read = JSON.parse(readFileSync(file, 'utf8')) as Approval;
    const isWhole =
      (read.format as number) === 1 &&
      Array.isArray(read.volumes) &&
      typeof read.made.wall === 'number' &&
      typeof read.made.uptime === 'number' &&
      typeof read.holds === 'number';
    return isWhole ? read : undefined;
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function isPrivate(
  about: { uid: number; mode: number; isDirectory(): boolean },
  kind: 'file' | 'folder',
): boolean {
  const uid = process.getuid?.();
  if (about.isDirectory() !== (kind === 'folder')) return false;
  // Windows knows neither owners nor modes of this kind.
  return uid === undefined || (about.uid === uid && (about.mode & 0o077) === 0);
}
