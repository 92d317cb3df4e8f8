/**
 * A second engine on this machine: a server that has none of the images and none of the volumes of the first.
 *
 *     const engine = await secondEngine();               // or the reason why there can be none, as a text
 *     await docker(['ps'], { env: engine.env });
 *     await engine.end();                                // in an afterAll: ends it by its pid and removes its data
 *
 * It has a network namespace of its own, so that neither bridges nor rules of the firewall get into the way of the
 * first; it reaches nothing, no registry either.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { docker } from './docker.ts';

export interface SecondEngine {
  env: { DOCKER_HOST: string };
  end(): Promise<void>;
}

export async function secondEngine(): Promise<SecondEngine | string> {
  if (process.getuid?.() !== 0) return 'only root can start a second engine';
  for (const program of ['dockerd', 'unshare', 'ip']) {
    const found = await execa('sh', ['-c', `command -v ${program}`], { reject: false });
    if (found.exitCode !== 0) return `a second engine needs ${program}`;
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'e2e-engine-'));
  const at = (name: string): string => path.join(folder, name);
  const env = { DOCKER_HOST: `unix://${at('sock')}` };
  const start = 'ip link set lo up && exec dockerd "$@" >"$LOG" 2>&1';
  const flags = ['--data-root', at('data'), '--exec-root', at('exec'), '--pidfile', at('pid')];
  const daemon = execa('unshare', ['--net', 'sh', '-c', start, 'sh', ...flags, '--host', env.DOCKER_HOST], {
    env: { LOG: at('log') },
    stdio: 'ignore',
    reject: false,
    detached: true,
  });
  const state = { ended: false };
  const end = async (): Promise<void> => {
    // Of this very process: unshare and sh have become dockerd. It ends its own containerd and containers.
    if (!state.ended) daemon.kill('SIGTERM');
    await daemon;
    // What is still mounted is let go of a moment later.
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 500 });
  };
  void daemon.then(() => (state.ended = true));
  for (let tries = 0; tries < 200 && !state.ended; tries += 1) {
    await sleep(200);
    const answers = await docker(['version'], { env }).catch(() => undefined);
    if (answers !== undefined) return { env, end };
  }
  const log = await readFile(at('log'), 'utf8').catch(() => '');
  await end();
  return `a second engine did not start: ${log.trim().split('\n').slice(-3).join(' · ')}`;
}
