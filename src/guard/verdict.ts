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
  /** Fine if every one of `volumes` is a cache, or has a fresh backup. */
  conditional?: boolean;
}

/** A command that is allowed, although a safer one exists. */
export interface Hint {
  command: string;
  at: Span;
  text: string;
}

/** What a text would do. Pure: nothing was asked. */
export interface Judgement {
  findings: Finding[];
  hints: Hint[];
  /** How many characters were read and copied: what bounds the time it took, whatever the machine. */
  work?: number;
}

/** What is known of a volume. */
export interface VolumeKnowledge {
  class?: 'critical' | 'important' | 'cache';
  /** Its newest backup that is sealed and verified. */
  backup?: { id: string; ageSeconds: number };
  sizeBytes?: number;
}

/** What would be lost, as far as it is cheap to know. */
export interface Losses {
  project?: string;
  volumes: { name: string; sizeBytes?: number }[];
}

/**
 * What the guard asks those who know: the rest of the program, through the command line. Every part may be missing, and
 * then the answer is the strict one.
 */
export interface Knowledge {
  volume?: (name: string) => Promise<VolumeKnowledge | undefined>;
  losses?: (finding: Finding) => Promise<Losses | undefined>;
  /** Whether this finding is about something that is guarded. All is, if nobody says. */
  isGuarded?: (finding: Finding) => Promise<boolean>;
  /** A one-time approval of exactly this text, used up by asking. Returns its id. */
  approval?: (findings: readonly Finding[]) => Promise<string | undefined>;
}

export interface Settings {
  /** `warn` lets everything pass, and says what `block` would have said. */
  policy: 'block' | 'warn';
  /** How old a backup may be to make up for a volume, in seconds. */
  freshSeconds: number;
}

export const defaults: Settings = { policy: 'block', freshSeconds: 24 * 60 * 60 };

export interface Verdict {
  decision: 'allow' | 'warn' | 'deny';
  /** What stands against it. Empty if nothing does. */
  findings: (Finding & { losses?: Losses })[];
  /** What would have stood against it, and why it does not: "shop_cache holds a cache". */
  excused: { finding: Finding; because: string }[];
  hints: Hint[];
}

/** Given what a text would do, ask what has to be asked and return the verdict. An answer that fails is no answer. */
export async function settle(
  judgement: Judgement,
  knowledge: Knowledge = {},
  settings: Settings = defaults,
): Promise<Verdict> {
  const verdict: Verdict = { decision: 'allow', findings: [], excused: [], hints: judgement.hints };
  for (const finding of judgement.findings) {
    const because = await excuse(finding, knowledge, settings);
    if (because !== undefined) {
      verdict.excused.push({ finding, because });
      continue;
    }
    const losses = await answer(() => knowledge.losses?.(finding));
    verdict.findings.push(losses === undefined ? finding : { ...finding, losses });
  }
  if (verdict.findings.length === 0) return verdict;
  const approval = await answer(() => knowledge.approval?.(verdict.findings));
  if (approval !== undefined) {
    for (const finding of verdict.findings)
      verdict.excused.push({ finding, because: `approval ${approval}` });
    verdict.findings = [];
    return verdict;
  }
  verdict.decision = settings.policy === 'warn' ? 'warn' : 'deny';
  return verdict;
}

async function excuse(
  finding: Finding,
  knowledge: Knowledge,
  settings: Settings,
): Promise<string | undefined> {
  if ((await answer(() => knowledge.isGuarded?.(finding))) === false) return 'it is not guarded';
  if (finding.conditional !== true || finding.volumes === undefined || finding.volumes.length === 0)
    return undefined;
  const reasons: string[] = [];
  for (const name of finding.volumes) {
    const known = await answer(() => knowledge.volume?.(name));
    if (known?.class === 'cache') reasons.push(`${name} holds a cache`);
    else if (known?.backup !== undefined && known.backup.ageSeconds <= settings.freshSeconds)
      reasons.push(`${name} is in the backup ${known.backup.id}`);
    else return undefined;
  }
  return reasons.join(', ');
}

async function answer<T>(ask: () => Promise<T | undefined> | undefined): Promise<T | undefined> {
  try {
    return await ask();
  } catch {
    return undefined;
  }
}
