import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const second = 1000;

/** One project a kind of test; `vitest run` runs them one after the other, the cheap ones first. */
export default defineConfig({
  test: {
    // Names of stacks, ports and folders are unique in every test, so files at once get along; they wait more than they work,
    // so there is one more than cores.
    maxWorkers: 3,
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
