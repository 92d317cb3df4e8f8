/**
 * The longest time a limit may have: 24 days. Node's timers hold milliseconds in 32 bits and fire at once beyond
 * that, which would turn a generous limit into none at all.
 */
export const longestDuration = 24 * 24 * 60 * 60 * 1000;

/** 90s, 5m, 1h30m, 1d, 500ms, or a bare number of seconds. The units come largest first, each at most once. */
export const durationPattern =
  /^(?:\d+(?:\.\d+)?|(?=\d)(?:\d+(?:\.\d+)?d)?(?:\d+(?:\.\d+)?h)?(?:\d+(?:\.\d+)?m)?(?:\d+(?:\.\d+)?s)?(?:\d+ms)?)$/;

const units = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;

/**
 * Takes a duration as people write it, or a number of seconds.
 * Returns whole milliseconds, or undefined where it is neither.
 */
export function parseDuration(written: string | number): number | undefined {
  if (typeof written === 'number') {
    return Number.isFinite(written) && written >= 0 ? Math.round(written * 1000) : undefined;
  }
  const text = written.trim();
  if (!durationPattern.test(text)) return undefined;
  let milliseconds = 0;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(d|h|ms|m|s|$)/g)) {
    milliseconds += Number(amount) * units[(unit === '' ? 's' : unit) as keyof typeof units];
  }
  return Math.round(milliseconds);
}
