import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const second = 1000;

/** Seconds that each file took when they were last kept (scripts/test --keep-times). */
const times = JSON.parse(readFileSync(new URL('test/times.json', import.meta.url), 'utf8')) as Record<
  string,
  number
>;

/** What takes longest begins first: if it began last, it would go on alone while the other workers have nothing to do. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const seconds = ({ moduleId }: TestSpecification): number =>
      // One that nobody has timed may be long.
      times[moduleId.slice(moduleId.lastIndexOf('/test/') + 1)] ?? 60;
    return Promise.resolve(files.toSorted((one, other) => seconds(other) - seconds(one)));
  }
}

/** Which of the many instants of a fault are tried: how many commits there are, so that each commit tries the next ones. */
function rotation(): string {
  const given = process.env['SAFE_UPDATE_ROTATION'];
  if (given !== undefined) return given;
  try {
    const count = execFileSync('git', ['rev-list', '--count', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return count.trim();
  } catch {
    // No git, no commit: the first of each.
    return '0';
  }
}

/** Tests of one kind. Those on an engine share their workers, so that the longest of all of them begins first. */
const project = (name: string, limit: number) => ({
  extends: true as const,
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: limit * second,
    hookTimeout: Math.min(limit, 360) * second,
    sequence: { groupOrder: name === 'unit' ? 0 : 1 },
  },
});

export default defineConfig({
  test: {
    // Names of stacks, ports and folders are unique in every test, so files at once get along; they wait more than they work,
    // so there are more of them than cores.
    maxWorkers: 5,
    sequence: { sequencer: LongestFirst },
    env: {
      // The program is started thousands of times: what Node.js makes of it is made once.
      NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url)),
      SAFE_UPDATE_ROTATION: rotation(),
    },
    projects: [
      project('unit', 60),
      project('conformance', 240),
      project('integration', 240),
      project('e2e', 600),
      project('faults', 600),
    ],
  },
});
