import { expect, it } from 'vitest';
import { describeRetention, type Retention } from '../../../src/model/retention.ts';

it.each<[Retention, string]>([
  [{ last: 5 }, 'the last 5'],
  [{ last: 5, daily: 7, days: 30 }, 'the last 5, 7 daily and all of 30 days'],
  [{ hourly: 24, weekly: 4, monthly: 6, yearly: 2 }, '24 hourly, 4 weekly, 6 monthly and 2 yearly'],
])('%j is %s', (retention, words) => {
  expect(describeRetention(retention)).toBe(words);
});
