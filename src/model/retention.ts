/** Which backups stay: those that any of these keeps. At least one is given. */
export interface Retention {
  /** The newest ones. */
  last?: number;
  /** The newest of each of so many hours, days, weeks (from Monday), months and years in which there is one. */
  hourly?: number;
  daily?: number;
  weekly?: number;
  monthly?: number;
  yearly?: number;
  /** All that are not older than so many days before the newest one. */
  days?: number;
}

const words: readonly (readonly [keyof Retention, string])[] = [
  ['hourly', 'hourly'],
  ['daily', 'daily'],
  ['weekly', 'weekly'],
  ['monthly', 'monthly'],
  ['yearly', 'yearly'],
];

/** For people: "the last 5, 7 daily, and all of 30 days". Pure. */
export function describeRetention(retention: Retention): string {
  const parts = [
    ...(retention.last === undefined ? [] : [`the last ${retention.last}`]),
    ...words.flatMap(([rule, word]) => {
      const count = retention[rule];
      return count === undefined ? [] : [`${count} ${word}`];
    }),
    ...(retention.days === undefined ? [] : [`all of ${retention.days} days`]),
  ];
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1) ?? ''}`;
}
