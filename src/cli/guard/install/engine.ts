import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultHost, endpointAtHand } from '../../../docker/context.ts';
import { messageOf, SafeUpdateError } from '../../../model/error.ts';
import { askSocket } from '../ask.ts';
import { isPluginName, pluginFolder, pluginName } from '../serve.ts';
import { withoutPlugin, withPlugin } from './daemon-json.ts';
import { readText } from './files.ts';
import type { FileChange, Options, Place, PlaceKind, Plan, Proof, World } from './place.ts';

export const engine: PlaceKind = {
  options: { name: 'value', host: 'value', 'daemon-json': 'value', pidfile: 'value', socket: 'value' },
  variants: [{}],
  at: (options, world) => new EnginePlace(options, world),
};

/** What the engine of a machine reads. */
const machineJson = '/etc/docker/daemon.json';

/** No volume can have this name, so that nothing is deleted where nobody refuses it. */
const canary = '/volumes/~safe-update-guard-canary';

/**
 * dockerd itself, by its authorization plugin. A plugin that is named and not there is the end of it: dockerd refuses every
 * request, and when it is reloaded or started it gives up after 15 seconds (seen with 28.5). So the name is in daemon.json only
 * while the plugin answers, and goes before the plugin does.
 */
class EnginePlace implements Place {
  readonly name: string;
  readonly #world: World;
  readonly #plugin: string;
  /** Where the plugin listens. */
  readonly #socket: string;
  readonly #daemonJson: string;
  /** Whose dockerd is not the one of this machine's systemd. */
  readonly #pidfile: string | undefined;
  readonly #host: string;

  constructor(options: Options, world: World) {
    const text = (name: string): string | undefined =>
      typeof options[name] === 'string' ? options[name] : undefined;
    this.#world = world;
    this.#plugin = text('name') ?? pluginName;
    this.#socket = text('socket') ?? `${pluginFolder}/${this.#plugin}.sock`;
    this.#daemonJson = text('daemon-json') ?? machineJson;
    this.#pidfile = text('pidfile');
    this.#host = text('host') ?? endpointAtHand(world.env)?.host ?? defaultHost;
    const words = Object.entries(options).map(([name, value]) => `--${name} ${String(value)}`);
    this.name = ['engine', ...words].join(' ');
  }

  async install(): Promise<Plan> {
    this.#requireHere();
    const before = await readText(this.#daemonJson);
    const after = withPlugin(before, this.#daemonJson, this.#plugin);
    const unit = await this.#unit();
    const isNamed = after === before;
    const reload = isNamed && !(await this.#tryCanary()).denied;
    const changes: FileChange[] = [];
    if (unit !== undefined && unit.before !== unit.after)
      changes.push({
        ...unit,
        ours: true,
        afterwards: async () => {
          await this.#systemctl('daemon-reload');
          await this.#systemctl('enable', this.#unitName);
          await this.#systemctl('restart', this.#unitName);
          await this.#requirePlugin();
        },
      });
    if (!isNamed)
      changes.push({
        path: this.#daemonJson,
        before,
        after,
        afterwards: () => this.#reload(),
      });
    return {
      changes,
      actions: [
        ...(changes.length > 0 && unit !== undefined
          ? [`systemctl enable and restart ${this.#unitName}`]
          : []),
        ...(!isNamed || reload ? [`reload dockerd (${this.#how()})`] : []),
      ],
      notes: [
        'From now on dockerd refuses everything whenever the plugin does not run. See "The engine" in docs/guard.md.',
      ],
      before: async () => {
        await this.#validate(after);
        if (unit === undefined || unit.before === unit.after) await this.#requirePlugin();
      },
      ...(reload ? { after: () => this.#reload() } : {}),
    };
  }

  async uninstall(): Promise<Plan> {
    const before = await readText(this.#daemonJson);
    const after = before === undefined ? undefined : withoutPlugin(before, this.#daemonJson, this.#plugin);
    const unit = await this.#unit();
    const isNamed = before !== undefined && after !== before;
    const hasUnit = unit?.before !== undefined;
    // As after a run that ended between the two.
    const stillAsks = !isNamed && (await this.#tryCanary()).denied;
    if (isNamed) this.#requireHere();
    const stop = async (): Promise<void> => {
      if (hasUnit) await this.#systemctl('disable', '--now', this.#unitName);
    };
    return {
      changes: [
        ...(isNamed
          ? [
              {
                path: this.#daemonJson,
                before,
                after,
                afterwards: async () => {
                  await this.#reloadWithout();
                  await stop();
                },
              },
            ]
          : []),
        ...(hasUnit ? [{ ...unit, after: undefined, ours: true }] : []),
      ],
      actions: [
        ...(isNamed || stillAsks ? [`reload dockerd (${this.#how()})`] : []),
        ...(hasUnit ? [`systemctl disable --now ${this.#unitName}`] : []),
      ],
      before: async () => {
        if (stillAsks) await this.#reloadWithout();
        if (!isNamed) await stop();
      },
      ...(hasUnit ? { after: () => this.#systemctl('daemon-reload') } : {}),
      notes:
        (isNamed || stillAsks) && !hasUnit
          ? ['dockerd no longer asks the plugin: safe-update guard serve may end.']
          : [],
    };
  }

  /** Asks the engine to delete a volume that cannot exist. dockerd is reloaded in its own time. */
  async prove(): Promise<Proof> {
    for (let tries = 0; tries < 20; tries += 1) {
      const proof = await this.#tryCanary();
      if (proof.denied) return proof;
      await sleep(250);
    }
    return this.#tryCanary();
  }

  async #tryCanary(): Promise<Proof> {
    const socket = this.#engineSocket();
    const tried = `curl --unix-socket ${socket} -X DELETE http://docker${canary}`;
    try {
      const { status, body } = await askSocket(socket, 'DELETE', canary);
      const denied =
        status === 403 && body.includes(`denied by plugin ${this.#plugin}: refused by safe-update`);
      return { denied, tried, answer: `${status} ${body.trim()}` };
    } catch (error) {
      return { denied: false, tried, answer: messageOf(error) };
    }
  }

  /** Throws SafeUpdateError unless this is the machine of the engine. */
  #requireHere(): void {
    const state = 'Nothing was touched.';
    if (!isPluginName(this.#plugin))
      throw new SafeUpdateError('usage', `${this.#plugin} cannot be the name of a plugin.`, { state });
    if (!this.#host.startsWith('unix:///'))
      throw new SafeUpdateError('refused', `The engine at ${this.#host} is not that of this machine.`, {
        state,
        hint: 'Run it on the machine of the engine, with --host unix:///PATH if its socket is not the usual one.',
      });
    // One without root, say: it would be named a plugin that another engine is then asked for.
    if (
      !['/var/run/docker.sock', '/run/docker.sock'].includes(this.#engineSocket()) &&
      this.#daemonJson === machineJson
    )
      throw new SafeUpdateError('refused', `The engine at ${this.#host} does not read ${machineJson}.`, {
        state,
        hint: 'Name its own files: --daemon-json PATH --pidfile PATH, and for an engine without root --socket PATH. See "An engine without root" in docs/guard.md.',
      });
  }

  #engineSocket(): string {
    return this.#host.slice('unix://'.length);
  }

  /** Throws SafeUpdateError unless the plugin answers, within five seconds, where dockerd will look for it. */
  async #requirePlugin(): Promise<void> {
    let why = '';
    for (let tries = 0; tries < 20; tries += 1) {
      try {
        const { body } = await askSocket(this.#socket, 'POST', '/Plugin.Activate');
        if (body === '{"Implements":["authz"]}') return;
        why = 'something else answers there';
      } catch (error) {
        why = messageOf(error);
      }
      await sleep(250);
    }
    throw new SafeUpdateError('refused', `The plugin does not answer at ${this.#socket}: ${why}`, {
      state: `${this.#daemonJson} was not touched: dockerd refuses everything, and may end, when it names a plugin that is not there.`,
      hint: `Start it first, and keep it running: ${this.#serveWords().join(' ')}`,
    });
  }

  /** Throws SafeUpdateError if dockerd says that it could not read this daemon.json. */
  async #validate(text: string): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'safe-update-daemon-'));
    try {
      const file = join(folder, 'daemon.json');
      await writeFile(file, text, { mode: 0o600 });
      const { exitCode, stderr } = await this.#world.exec
        .run({ argv: ['dockerd', '--validate', '--config-file', file], timeout: 20_000 })
        // Where there is no dockerd in PATH, nobody can be asked.
        .catch(() => ({ exitCode: 0, stderr: '' }));
      if (exitCode !== 0)
        throw new SafeUpdateError(
          'refused',
          `dockerd could not read the new ${this.#daemonJson}: ${stderr.trim().split('\n').at(-1) ?? ''}`,
          { state: 'Nothing was touched.', hint: `Mend ${this.#daemonJson} first.` },
        );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** dockerd reads daemon.json again, and asks the plugin from now on. */
  async #reload(): Promise<void> {
    // It would give up if the plugin had gone in the meantime.
    await this.#requirePlugin();
    await this.#tellToReload();
  }

  /** dockerd reads daemon.json again. Returns when it no longer asks the plugin, which may end then. */
  async #reloadWithout(): Promise<void> {
    await this.#tellToReload();
    for (let tries = 0; tries < 20; tries += 1) {
      if (!(await this.#tryCanary()).denied) return;
      await sleep(250);
    }
    throw new SafeUpdateError('engine', 'dockerd still asks the plugin.', {
      state: `${this.#daemonJson} no longer names it, and the plugin was not ended: without it dockerd would refuse everything.`,
      hint: 'Look for --authorization-plugin among the flags of dockerd, and into its log.',
    });
  }

  async #tellToReload(): Promise<void> {
    if (this.#pidfile === undefined && (await hasSystemd())) {
      const { exitCode } = await this.#world.exec.run({
        argv: ['systemctl', 'reload', 'docker.service'],
        timeout: 90_000,
      });
      // The unit has kill(1) send the signal, which not every machine has.
      if (exitCode === 0) return;
    }
    const pidfile = this.#pidfile ?? '/var/run/docker.pid';
    try {
      const pid = Number((await readFile(pidfile, 'utf8')).trim());
      // The number may have gone to somebody else, whom the signal would end.
      const comm = await readFile(`/proc/${pid}/comm`, 'utf8');
      if (!Number.isInteger(pid) || pid < 2 || comm.trim() !== 'dockerd')
        throw new Error(`${pidfile} names no dockerd`);
      process.kill(pid, 'SIGHUP');
    } catch (error) {
      throw new SafeUpdateError('engine', `dockerd could not be told to reload: ${messageOf(error)}`, {
        state: `${this.#daemonJson} is written; dockerd has not read it yet.`,
        hint: 'Have dockerd read it (SIGHUP, or systemctl reload docker), then run the command again.',
        cause: error,
      });
    }
  }

  #how(): string {
    return this.#pidfile === undefined ? 'systemctl reload docker, or SIGHUP' : 'SIGHUP';
  }

  get #unitName(): string {
    return `${this.#plugin}.service`;
  }

  /** The systemd unit as it is and as it should be; undefined where systemd does not run this dockerd. */
  async #unit(): Promise<FileChange | undefined> {
    if (this.#pidfile !== undefined || !(await hasSystemd())) return undefined;
    const path = `/etc/systemd/system/${this.#unitName}`;
    return { path, before: await readText(path), after: unitFile(this.#serveWords(), this.#socket) };
  }

  #serveWords(): string[] {
    return [
      this.#world.node,
      this.#world.bin,
      ...['guard', 'serve', '--name', this.#plugin, '--host', this.#host],
      ...(this.#socket === `${pluginFolder}/${this.#plugin}.sock` ? [] : ['--socket', this.#socket]),
    ];
  }

  async #systemctl(...words: readonly string[]): Promise<void> {
    const { exitCode, stderr } = await this.#world.exec.run({
      argv: ['systemctl', ...words],
      timeout: 90_000,
    });
    if (exitCode !== 0)
      throw new SafeUpdateError('refused', `systemctl ${words.join(' ')} failed: ${stderr.trim()}`, {
        state: 'What is shown above is done as far as here; nothing after it.',
        hint: `Look at: systemctl status ${this.#unitName} docker.service`,
      });
  }
}

/**
 * The unit of the plugin. dockerd gives up 15 seconds after it was started without its plugin, so it is started after this one
 * answers; and as it refuses everything while the plugin is away, that one is started again at once, and is not the first to go
 * when memory is short. Pure.
 */
export function unitFile(words: readonly string[], socket: string): string {
  const exec = words.map(unitWord).join(' ');
  return `[Unit]
Description=safe-update guard: the engine refuses to delete volumes
Before=docker.service
StartLimitIntervalSec=0

[Service]
ExecStart=${exec}
ExecStartPost=/bin/sh -c 'until [ -S "$$1" ]; do sleep 0.1; done' sh ${unitWord(socket)}
TimeoutStartSec=20
Restart=always
RestartSec=200ms
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target docker.service
`;
}

/** A word of a command line in a unit: quoted, with systemd's own specifiers and variables taken literally. */
function unitWord(word: string): string {
  const literal = word
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('%', '%%')
    .replaceAll('$', '$$$$');
  return /^[A-Za-z0-9_@:,./=+$%~-]+$/.test(word) ? literal : `"${literal}"`;
}

/** As sd_booted(3) tells it. */
async function hasSystemd(): Promise<boolean> {
  return (await stat('/run/systemd/system').catch(() => undefined))?.isDirectory() === true;
}
