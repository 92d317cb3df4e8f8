import { describe, expect, it } from 'vitest';
import {
  freshFor,
  policyFor,
  strictest,
  type MachineRules,
  type ProjectRules,
  type Target,
} from '../../../src/guard/policy.ts';

const silent: MachineRules = { projects: {}, volumes: {} };
const shop = (own: ProjectRules = {}): Target[] => [{ project: 'shop', own }];

describe('the policy for a command', () => {
  it('is block where nobody says anything', () => {
    expect(policyFor(silent, shop())).toEqual({ policy: 'block' });
    expect(policyFor(silent, [])).toEqual({ policy: 'block' });
  });

  it.each([
    ['the machine in general', { ...silent, policy: 'warn' }, 'warn', 'policy: warn'],
    [
      'the machine, of this project',
      { ...silent, policy: 'block', projects: { shop: 'off' } },
      'off',
      'projects.shop: off',
    ],
    ['the machine, by a pattern', { ...silent, projects: { 'sh*': 'off' } }, 'off', 'projects.sh*: off'],
    [
      'the very name before a pattern',
      { ...silent, projects: { '*': 'block', shop: 'off' } },
      'off',
      'projects.shop: off',
    ],
    [
      'the strictest of the patterns',
      { ...silent, projects: { '*': 'off', 's*': 'warn', 'sho?': 'off' } },
      'warn',
      'projects.s*: warn',
    ],
    [
      'nothing about another project',
      { ...silent, projects: { 'shop-*': 'off', other: 'off' } },
      'block',
      undefined,
    ],
  ] as const)('is said by %s', (_, machine, policy, by) => {
    expect(policyFor(machine, shop())).toEqual({ policy, ...(by === undefined ? {} : { by }) });
  });

  it("is the project's own where the machine says nothing", () => {
    expect(policyFor(silent, shop({ policy: 'off' }))).toEqual({
      policy: 'off',
      by: 'safe-update.yml: off',
    });
  });

  it.each([
    [{ ...silent, policy: 'block' }, 'off', 'block'],
    [{ ...silent, policy: 'warn' }, 'off', 'warn'],
    [{ ...silent, projects: { shop: 'block' } }, 'off', 'block'],
    [{ ...silent, policy: 'off' }, 'block', 'block'],
    [{ ...silent, projects: { shop: 'off' } }, 'warn', 'warn'],
  ] as const)('of the machine %j is never made weaker by a project that says %s', (machine, own, policy) => {
    expect(policyFor(machine, shop({ policy: own })).policy).toBe(policy);
  });

  it('is that of the strictest volume that would go', () => {
    const machine: MachineRules = {
      projects: { shop: 'off' },
      volumes: { shop_db: 'block', '*_cache': 'off' },
    };
    const of = (...volumes: string[]): string =>
      policyFor(
        machine,
        volumes.map((volume) => ({ project: 'shop', volume, own: {} })),
      ).policy;
    expect(of('shop_files')).toBe('off');
    expect(of('shop_files', 'shop_cache')).toBe('off');
    expect(of('shop_files', 'shop_db')).toBe('block');
    expect(
      policyFor(machine, [
        { volume: 'x_cache', own: {} },
        { volume: 'x_db', own: {} },
      ]).policy,
    ).toBe('block');
  });

  it('does not take what one project says of itself for another', () => {
    const [mine, other] = [shop({ policy: 'off' }), [{ project: 'other', own: {} }]];
    expect(policyFor(silent, [...mine, ...other]).policy).toBe('block');
  });

  it('is the strictest of all where it is not known what would be deleted', () => {
    const machine: MachineRules = { policy: 'off', projects: { test: 'off' }, volumes: { shop_db: 'warn' } };
    expect(policyFor(machine, [])).toEqual({ policy: 'warn', by: 'volumes.shop_db: warn' });
    expect(policyFor({ ...machine, volumes: {} }, []).policy).toBe('off');
    expect(policyFor({ ...silent, projects: { test: 'off' } }, []).policy).toBe('block');
  });

  it('and the age of a backup: what the machine says, or less', () => {
    expect(freshFor(silent, {}, 60)).toBe(60);
    expect(freshFor(silent, { freshSeconds: 100 }, 60)).toBe(100);
    expect(freshFor({ ...silent, freshSeconds: 90 }, { freshSeconds: 100 }, 60)).toBe(90);
    expect(freshFor({ ...silent, freshSeconds: 90 }, { freshSeconds: 10 }, 60)).toBe(10);
  });

  it('is the strictest of the environments that may be meant', () => {
    expect(strictest([{ policy: 'off' }, { policy: 'warn' }])).toEqual({ policy: 'warn' });
    expect(strictest([{ policy: 'off' }, {}])).toEqual({ policy: 'block' });
    expect(strictest([{}, { freshSeconds: 5 }, { freshSeconds: 7 }])).toEqual({ freshSeconds: 5 });
    expect(strictest([])).toEqual({});
  });
});
