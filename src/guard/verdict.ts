import type { VolumeClass } from '../model/project.ts';
import type { RuleName } from './rules.ts';

/** Where in the judged text a command stands: UTF-16 offsets, `[start, end)`. */
export interface Span {
  start: number;
  end: number;
}

/** One destructive command in a text. */
export interface Finding {
  rule: RuleName;
  /** The command as it would run, unwrapped; `?` stands for what nobody knows. */
  command: string;
  at: Span;
  /** What would be lost, as a part of a sentence. */
  loses: string;
  /** Commands to use instead. */
  instead: readonly string[];
  /** The compose project, if the command names one. */
  project?: string;
  /** Volumes that the command names. */
  volumes?: readonly string[];
  /** Containers that the command names, as it names them. */
  containers?: readonly string[];
  /** Fine if every one of `volumes` is a cache, or has a fresh backup. */
  conditional?: boolean;
  /** The folder it would run in, if that is known. */
  cwd?: string;
  /** The folder of the compose project, if a flag says which. */
  folder?: string;
  /** The compose files, if flags say which. */
  files?: readonly string[];
  /** Only volumes without a name of their own go. */
  anonymous?: boolean;
  /**
   * What takes it to another engine, or to who knows which: `--context prod`, `DOCKER_HOST=…`, a whole `ssh prod …`. Nothing
   * that is known here says anything about it then.
   */
  elsewhere?: readonly string[];
  /** What starts it, where that may give it other settings than those that are known: `sudo …`, `make …`. */
  through?: readonly string[];
  /** The command that runs it inside a container: `docker exec db …`. */
  within?: string;
}

/** A command that is allowed, although a safer one exists. */
export interface Hint {
  command: string;
  at: Span;
  text: string;
}

/** Where a command runs in a container: whose mounts are what it sees. */
export type Inhabited =
  | {
      kind: 'service';
      /** Undefined: any of the project's. */
      service?: string | undefined;
      project?: string | undefined;
      /** The project's folder and files, where the command says them. */
      folder?: string | undefined;
      files?: readonly string[];
      /** It is one that the command makes: `compose run`. */
      comesUp?: boolean;
    }
  | {
      kind: 'container';
      /** Names or ids; undefined: any of the project's. */
      names?: readonly string[] | undefined;
    };

/**
 * A command that deletes where the text does not tell whether there is data: only the engine, the compose files and the settings
 * of a project know.
 */
export interface Suspect {
  /** What it is if there is data. */
  finding: Finding;
  /** What goes, with wildcards: absolute, or from a folder that only the container knows. */
  paths: readonly string[];
  /** What lies further down goes as well: `rm -r`. */
  whole: boolean;
  /** Patterns of what is left: `rsync --exclude`, `git clean -e`. */
  except: readonly string[];
  /** It is `git clean`, and what git ignores goes as well, or does not. */
  cleans?: 'all' | 'known';
  /** In a container. Absent: on the host. */
  inside?: Inhabited;
}

/** What a text would do. Pure: nothing was asked. */
export interface Judgement {
  findings: Finding[];
  /** What may be more of them. */
  suspects?: readonly Suspect[];
  hints: Hint[];
  /** How many characters were read and copied: what bounds the time it took, whatever the machine. */
  work?: number;
}

/** What is known of a volume. */
export interface VolumeKnowledge {
  class?: VolumeClass;
  /** Its newest backup that is sealed and verified. */
  backup?: { id: string; ageSeconds: number };
  /** How old that may be, where it is said for this volume; else the settings count. */
  freshSeconds?: number;
  /** Why there is no backup to rely on, and what to do about it, as a sentence without a full stop. */
  why?: string;
}

/** What would be lost, as far as it is cheap to know. */
export interface Losses {
  project?: string;
  volumes: { name: string; sizeBytes?: number }[];
  /** How long ago the sizes were right: the age of the backup they are from. */
  sizesAgeSeconds?: number;
}

/** `block` refuses, `warn` says what `block` would have said, `off` says nothing. */
export type Policy = 'block' | 'warn' | 'off';

/**
 * What the guard asks those who know: the rest of the program, through the command line. Every part may be missing, and
 * then the answer is the strict one.
 */
export interface Knowledge {
  volume?: (name: string, finding: Finding) => Promise<VolumeKnowledge | undefined>;
  losses?: (finding: Finding) => Promise<Losses | undefined>;
  /** What holds for this finding, and who says so. The settings do, if nobody says. */
  policy?: (finding: Finding) => Promise<{ policy: Policy; by?: string } | undefined>;
  /** A one-time approval of exactly these, used up by asking. Returns how it is to be called. */
  approval?: (findings: readonly Finding[]) => Promise<string | undefined>;
  /** What the person should know about the answers. Asked last. */
  warnings?: () => readonly string[];
}

export interface Settings {
  /** What holds for a finding of which `Knowledge.policy` says nothing. */
  policy: 'block' | 'warn';
  /** How old a backup may be to make up for a volume, in seconds. */
  freshSeconds: number;
}

export const defaults: Settings = { policy: 'block', freshSeconds: 24 * 60 * 60 };

/** What stands against a text. */
export type Objection = Finding & {
  losses?: Losses;
  /** It is only warned of, whatever else is refused. */
  policy?: 'warn';
  /** Why it is not excused, by volume. */
  unexcused?: readonly string[];
};

export interface Verdict {
  decision: 'allow' | 'warn' | 'deny';
  /** What stands against it. Empty if nothing does. */
  findings: Objection[];
  /** What would have stood against it, and why it does not: "shop_cache holds a cache". */
  excused: { finding: Finding; because: string }[];
  hints: Hint[];
  /** What is wrong with the guard's own files. Absent: nothing. */
  warnings?: readonly string[];
}

/** Given what a text would do, ask what has to be asked and return the verdict. An answer that fails is no answer. */
export async function settle(
  judgement: Judgement,
  knowledge: Knowledge = {},
  settings: Settings = defaults,
): Promise<Verdict> {
  const verdict: Verdict = { decision: 'allow', findings: [], excused: [], hints: judgement.hints };
  for (const finding of judgement.findings) {
    const said = await answer(() => knowledge.policy?.(finding));
    const policy = said?.policy ?? settings.policy;
    if (policy === 'off') {
      const by = said?.by === undefined ? '' : ` (${said.by})`;
      verdict.excused.push({ finding, because: `it is not guarded${by}` });
      continue;
    }
    const excuse = await excuseOf(finding, knowledge, settings);
    if (excuse?.because !== undefined) {
      verdict.excused.push({ finding, because: excuse.because });
      continue;
    }
    const losses = await answer(() => knowledge.losses?.(finding));
    verdict.findings.push({
      ...finding,
      ...(losses === undefined ? {} : { losses }),
      ...(policy === 'warn' ? { policy } : {}),
      ...(excuse === undefined || excuse.missing.length === 0 ? {} : { unexcused: excuse.missing }),
    });
  }
  const refused = verdict.findings.filter(({ policy }) => policy !== 'warn');
  const approval = refused.length === 0 ? undefined : await answer(() => knowledge.approval?.(refused));
  if (approval !== undefined) {
    for (const finding of refused) verdict.excused.push({ finding, because: approval });
    verdict.findings = verdict.findings.filter(({ policy }) => policy === 'warn');
  }
  if (verdict.findings.length > 0)
    verdict.decision = refused.length > 0 && approval === undefined ? 'deny' : 'warn';
  const warnings = await answer(() => Promise.resolve(knowledge.warnings?.()));
  if (warnings !== undefined && warnings.length > 0) verdict.warnings = warnings;
  return verdict;
}

/** Why a finding is fine, or, by volume, why it is not. Undefined: there is no excuse for its kind. */
async function excuseOf(
  finding: Finding,
  knowledge: Knowledge,
  settings: Settings,
): Promise<{ because?: string; missing: string[] } | undefined> {
  if (finding.conditional !== true || finding.volumes === undefined || finding.volumes.length === 0)
    return undefined;
  const reasons: string[] = [];
  const missing: string[] = [];
  for (const name of finding.volumes) {
    const known = await answer(() => knowledge.volume?.(name, finding));
    const { backup } = known ?? {};
    const fresh = known?.freshSeconds ?? settings.freshSeconds;
    if (known?.class === 'cache') reasons.push(`${name} holds a cache`);
    else if (backup !== undefined && backup.ageSeconds <= fresh)
      reasons.push(`${name} is in the backup ${backup.id}, ${formatAge(backup.ageSeconds)} old`);
    else if (backup !== undefined)
      missing.push(
        `${name}: the backup ${backup.id} is ${formatAge(backup.ageSeconds)} old, more than ${formatAge(fresh)}`,
      );
    else missing.push(`${name}: ${known?.why ?? 'nobody can say what it holds'}`);
  }
  return missing.length > 0 ? { missing } : { because: reasons.join(', '), missing };
}

/** Seconds as people say an age: `40 s`, `12 min`, `3 h`, `2 days`. */
export function formatAge(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 60 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 60 * 60) return `${Math.round(seconds / (60 * 60))} h`;
  return `${Math.round(seconds / (24 * 60 * 60))} days`;
}

async function answer<T>(ask: () => Promise<T | undefined> | undefined): Promise<T | undefined> {
  try {
    return await ask();
  } catch {
    return undefined;
  }
}
