/** What a server holds, in numbers: cheap to take, and enough to see that something has gone. */
export interface Fingerprint {
  of: 'rows' | 'documents' | 'keys';
  /** By table, collection or key space: `shop.public.members`. None counts further than `countLimit`. */
  counts: Record<string, number>;
}

/** Counting on would take a large table long, and say nothing more about whether it is there. */
export const countLimit = 100_000;

/** A name of several parts, as it is shown and as configuration takes it; parts that hold a dot or a quote are quoted. Pure. */
export function qualified(...parts: readonly string[]): string {
  // eslint-disable-next-line no-control-regex -- a name may hold what a terminal would obey
  return parts.map((part) => (/[."\u0000-\u001f]/.test(part) ? JSON.stringify(part) : part)).join('.');
}

/** Something that held data. */
export interface Difference {
  name: string;
  was: number;
  /** Undefined: it is not there any more. */
  is: number | undefined;
}

/** What differs between two fingerprints of one database, of all that held data in the first. Pure. */
export function differences(before: Fingerprint, after: Fingerprint): Difference[] {
  return Object.entries(before.counts)
    .filter(([name, was]) => was > 0 && after.counts[name] !== was)
    .map(([name, was]) => ({ name, was, is: after.counts[name] }));
}

/** Has all that it held gone? Pure. */
export function isLost({ is }: Difference): boolean {
  return is === undefined || is === 0;
}

/** Is less than half of it left? Of a handful that says nothing. Pure. */
export function isFarFewer({ was, is = 0 }: Difference): boolean {
  return was >= 10 && is * 2 < was;
}

/** For people: `124 rows in 3 tables`. Pure. */
export function describeFingerprint({ of, counts }: Fingerprint): string {
  const all = Object.values(counts);
  const filled = all.filter((count) => count > 0);
  const total = filled.reduce((sum, count) => sum + count, 0);
  return describeCounts(of, total, filled.length, all.includes(countLimit));
}

/** The same of a sum, which may be more than was counted. Pure. */
export function describeCounts(of: Fingerprint['of'], total: number, filled: number, more = false): string {
  const places = { rows: 'table', documents: 'collection', keys: 'database' }[of];
  const unit = total === 1 ? of.slice(0, -1) : of;
  return `${total}${more ? ' or more' : ''} ${unit} in ${filled} ${places}${filled === 1 ? '' : 's'}`;
}

/** For people: `shop.public.members is gone (it had 3 rows)`. Pure. */
export function describeDifference({ name, was, is }: Difference, { of }: Fingerprint): string {
  const count = (number: number): string =>
    `${number === countLimit ? `${number} or more` : number} ${number === 1 ? of.slice(0, -1) : of}`;
  if (is === undefined) return `${name} is gone (it had ${count(was)})`;
  return is === 0
    ? `${name} is empty (it had ${count(was)})`
    : `${name} has ${count(is)} (it had ${count(was)})`;
}
