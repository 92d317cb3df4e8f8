import { execa } from 'execa';
import { dockerodeFor, endpointVariables, resolveEndpoint } from '../src/docker/endpoint.ts';
import { Engine } from '../src/docker/engine.ts';
import { createExec, type Exec } from '../src/docker/exec.ts';
import { helperImage } from '../src/docker/helper.ts';
import { say, timed } from './bench-measure.ts';

/** Everything that is made here carries this label. */
export const label = 'safe-update-bench';

/** The engine as the program itself would find it. */
export interface Bench {
  engine: Engine;
  exec: Exec;
  helperImage: string;
}

export async function openBench(): Promise<Bench> {
  const endpoint = await resolveEndpoint(createExec(process.env), process.env);
  const exec = createExec({ ...process.env, ...endpointVariables(endpoint) });
  const engine = new Engine(dockerodeFor(endpoint));
  return { engine, exec, helperImage: await helperImage(engine, exec, undefined) };
}

/** Runs the docker command and returns what it printed, without the last line feed. Throws with its own words. */
export async function docker(
  args: readonly string[],
  options: { cwd?: string; input?: string } = {},
): Promise<string> {
  const { input, ...rest } = options;
  const { stdout } = await execa(
    'docker',
    args,
    input === undefined ? { stdin: 'ignore', ...rest } : { input, ...rest },
  );
  return stdout;
}

/** A volume of ours that is empty: one that is there is removed first. */
export async function emptyVolume(name: string): Promise<void> {
  await docker(['volume', 'rm', '--force', name]);
  await docker(['volume', 'create', '--label', `${label}=scratch`, name]);
}

/**
 * A volume with `bytes` of the same mixed data on every machine: 38 % text as logs and exports are, 56 % that cannot
 * be compressed, as pictures, and 6 % in small files, 20,000 of them in 1.5 GB. It is kept for the next time.
 */
export async function dataVolume(bench: Bench, bytes: number): Promise<string> {
  const name = `safe-update-bench-data-${bytes}`;
  if ((await bench.engine.volume(name)) === null) {
    await docker(['volume', 'create', '--label', `${label}=data`, name]);
  }
  await fill(bench, name, bytes);
  return name;
}

/** Puts that data into a volume, unless it is there already. */
export async function fill(bench: Bench, volume: string, bytes: number): Promise<void> {
  const arguments_ = ['run', '--rm', '--interactive', '--network', 'none', '--volume', `${volume}:/data`];
  const milliseconds = await timed(() =>
    docker([...arguments_, bench.helperImage, 'python3', '-', String(bytes)], { input: generator }),
  );
  if (milliseconds > 5000) say(`made ${bytes} bytes of test data in ${Math.round(milliseconds / 1000)} s`);
}

/** All volumes of ours; `data` ones are kept between runs. */
export async function removeVolumes(kind: 'scratch' | 'data'): Promise<void> {
  const found = await docker(['volume', 'ls', '--quiet', '--filter', `label=${label}=${kind}`]);
  const names = found.split('\n').filter((name) => name !== '');
  if (names.length > 0) await docker(['volume', 'rm', '--force', ...names]);
}

const generator = `
import os, random, sys
size, done = int(sys.argv[1]), "/data/.bench-data"
if os.path.exists(done) and open(done).read() == str(size): sys.exit()
chance = random.Random(20241017)
words = [line for line in """order customer shipped invoice paid refund address street city garden kitchen window
table chair lamp carpet curtain member email login session cookie request response error warning timeout retry queue
worker upload picture thumbnail album comment reply like follow search index result page title""".split()]
sentences = [" ".join(chance.choices(words, k=chance.randint(6, 14))) for _ in range(4000)]
def text(length):
    lines, total = [], 0
    while total < length:
        line = f"2024-10-{chance.randint(1, 28):02} {chance.getrandbits(36):09x} {chance.choice(sentences)}\\n"
        lines.append(line)
        total += len(line)
    return "".join(lines).encode()[:length]
def write(name, content):
    os.makedirs(os.path.dirname(name), exist_ok=True)
    with open(name, "wb") as file: file.write(content)
left, number = int(size * 0.38), 0
while left > 0:
    length = min(left, chance.randint(1_000_000, 20_000_000))
    parts = [text(min(2_000_000, length - at)) for at in range(0, length, 2_000_000)]
    write(f"/data/text/{number:04}.log", b"".join(parts))
    left, number = left - length, number + 1
left, number = int(size * 0.56), 0
while left > 0:
    length = min(left, chance.randint(200_000, 6_000_000))
    write(f"/data/pictures/{number % 16:02}/{number:05}.jpg", chance.randbytes(length))
    left, number = left - length, number + 1
files = max(1, size * 20_000 // 1_500_000_000)
for number in range(files):
    write(f"/data/small/{number % 200:03}/{number:05}.json", text(chance.randint(500, 8500)))
write(done, str(size).encode())
`;
