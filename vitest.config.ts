import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const second = 1000;

/**
 * Files of tests that take minutes begin first: one of them that began last would go on alone while the other workers have
 * nothing to do. In CI no earlier run has left behind how long each took.
 */
const longest = [
  ...[
    'e2e/prove',
    'e2e/encrypted',
    'e2e/killed',
    'e2e/move',
    'e2e/edge',
    'e2e/bad-migration',
    'e2e/bad-edit',
  ],
  ...['e2e/restore', 'e2e/bad-release', 'e2e/topology', 'e2e/stacks/meeshy', 'e2e/guard-ask'],
  ...['faults/hands', 'faults/killed-everywhere', 'faults/dumps', 'faults/engine', 'faults/killed-at-random'],
  ...['conformance/database/mongodb', 'conformance/database/mysql'],
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = longest.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return found === -1 ? longest.length : found;
    };
    return (await super.sort(files)).toSorted((one, other) => place(one) - place(other));
  }
}

/** One project a kind of test; `vitest run` runs them one after the other, the cheap ones first. */
export default defineConfig({
  test: {
    // Names of stacks, ports and folders are unique in every test, so files at once get along; they wait more than they work,
    // so there is one more than cores.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    // The program is started thousands of times, from its sources: what Node.js makes of them is made once.
    env: {
      NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url)),
    },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          testTimeout: 60 * second,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'conformance',
          include: ['test/conformance/**/*.test.ts'],
          testTimeout: 120 * second,
          hookTimeout: 120 * second,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 120 * second,
          hookTimeout: 120 * second,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 360 * second,
          hookTimeout: 360 * second,
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          testTimeout: 600 * second,
          hookTimeout: 360 * second,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
