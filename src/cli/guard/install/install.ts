import { homedir } from 'node:os';
import { createExec } from '../../../docker/exec.ts';
import { messageOf, SafeUpdateError } from '../../../model/error.ts';
import { exitCodeOf } from '../../exit.ts';
import { programFile } from '../../program-file.ts';
import { ask, wantsColour } from '../../terminal.ts';
import { visible, visibleJson, visibleLines } from '../../view/escape.ts';
import { formatError } from '../../view/outcome.ts';
import { createStyle } from '../../view/style.ts';
import { write, wrong } from '../common.ts';
import { formatChanges } from './diff.ts';
import { apply, removeIfEmpty } from './files.ts';
import { policyFor } from '../../../guard/policy.ts';
import { machineFile, readMachineRules } from '../policy.ts';
import { isEmpty, stateOf, type Place, type Plan, type Proof, type World } from './place.ts';
import { places } from './places.ts';

/** Puts the guard somewhere. Resolves with the exit code: 0 installed and proven, 1 installed and the proof failed. */
export function install(argv: readonly string[]): Promise<number> {
  return changing(argv, 'install', async (place, asked) => {
    const plan = await place.install();
    if (isEmpty(plan)) return proven(place, 'already installed', []);
    if (!(await carryOut(plan, place, 'Install', asked))) return 0;
    return proven(place, 'installed', plan.notes ?? []);
  });
}

/** Takes the guard out again: what is ours, and nothing else. Resolves with the exit code. */
export function uninstall(argv: readonly string[]): Promise<number> {
  return changing(argv, 'uninstall', async (place, asked) => {
    const plan = await place.uninstall();
    if (isEmpty(plan)) await say(`${place.name}: not installed`);
    else if (await carryOut(plan, place, 'Uninstall', asked)) {
      await say(`${place.name}: taken out`);
      for (const text of plan.notes ?? []) await say(text);
    }
    return 0;
  });
}

interface Asked {
  yes: boolean;
  dryRun: boolean;
}

async function changing(
  argv: readonly string[],
  verb: string,
  then: (place: Place, asked: Asked) => Promise<number>,
): Promise<number> {
  const [name = '', ...words] = argv;
  const load = Object.hasOwn(places, name) ? places[name] : undefined;
  if (load === undefined) return wrong(`${verb} wants one of ${Object.keys(places).join(', ')}`);
  try {
    const kind = await load();
    const asked = { yes: false, dryRun: false };
    const options: Record<string, string | true> = {};
    for (let index = 0; index < words.length; index += 1) {
      const [flag, value] = splitFlag(words[index] ?? '');
      const takes = Object.hasOwn(kind.options, flag) ? kind.options[flag] : undefined;
      if (flag === 'yes' && value === undefined) asked.yes = true;
      else if (flag === 'dry-run' && value === undefined) asked.dryRun = true;
      else if (takes === 'switch' && value === undefined) options[flag] = true;
      else if (takes === 'value') {
        const given = value ?? words[(index += 1)];
        if (given === undefined || given === '') return await wrong(`--${flag} wants a value`);
        options[flag] = given;
      } else return await wrong(`${verb} ${name} does not know ${words[index] ?? ''}`);
    }
    return await then(kind.at(options, thisWorld()), asked);
  } catch (error) {
    return failed(error);
  }
}

/** `--dir=x` in two; a word that is no long flag has no name. */
function splitFlag(word: string): [string, string | undefined] {
  const found = /^(?:--([a-z-]+)(?:=(.*))?|-y)$/s.exec(word);
  if (found === null) return ['', undefined];
  return [found[1] ?? 'yes', found[2]];
}

/** Shows a plan, asks, and carries it out. Resolves with false if it was only to be shown. */
async function carryOut(plan: Plan, place: Place, verb: string, asked: Asked): Promise<boolean> {
  const style = await createStyle(wantsColour(process.stdout));
  const lines = formatChanges(plan.changes, style);
  await write(
    'stdout',
    [...lines, ...(plan.actions ?? []).map((action) => `then: ${visible(action)}`), ''].join('\n'),
  );
  if (asked.dryRun) {
    await say('Nothing was touched.');
    return false;
  }
  if (!asked.yes) {
    const answer = await ask(`${verb} ${visible(place.name)}? [y/N] `);
    if (answer === undefined)
      throw new SafeUpdateError('usage', 'There is no terminal to ask on.', {
        state: 'Nothing was touched.',
        hint: 'In scripts, say yes beforehand with --yes. To see the changes only: --dry-run',
      });
    if (!/^(y|yes|o|oui)$/i.test(answer.trim()))
      throw new SafeUpdateError('declined', 'Not confirmed.', { state: 'Nothing was touched.' });
  }
  await plan.before?.();
  for (const change of plan.changes) {
    await apply(change);
    await change.afterwards?.();
  }
  for (const folder of plan.folders ?? []) await removeIfEmpty(folder);
  await plan.after?.();
  return true;
}

async function proven(place: Place, how: string, notes: readonly string[]): Promise<number> {
  const proof = await attempt(place);
  const lenient = proof.denied ? undefined : await leniency();
  if (lenient !== undefined) {
    await say(`${place.name}: ${how}. It ${lenient}`);
    for (const text of notes) await say(text);
    return 0;
  }
  if (!proof.denied) {
    await failed(
      new SafeUpdateError('refused', `${place.name}: the guard does not work there.`, {
        state: `It is installed, but "${proof.tried}" was not refused through it: ${tellingLine(proof.answer)}`,
        hint: `To take it out again: safe-update guard uninstall ${place.name}`,
      }),
    );
    return 1;
  }
  await say(`${place.name}: ${how}, and "${proof.tried}" was refused through it`);
  for (const text of notes) await say(text);
  return 0;
}

/** Why nothing is refused here that could be tried; undefined: it should be. */
async function leniency(): Promise<string | undefined> {
  const { policy, by } = policyFor((await readMachineRules()).rules, []);
  if (policy === 'block') return undefined;
  return `refuses nothing, and cannot be tried, as long as ${machineFile} says "${by ?? policy}"`;
}

async function attempt(place: Place): Promise<Proof> {
  try {
    return await place.prove();
  } catch (error) {
    return { denied: false, tried: 'a command that must be refused', answer: messageOf(error) };
  }
}

/** How a place is, as `guard status --json` prints it. */
interface Status {
  place: string;
  state: 'installed' | 'not installed' | 'broken' | 'waiting';
  /** What was tried, and what came of it. */
  tried?: string;
  answer?: string;
  /** Why it refuses nothing, which is no fault. */
  lenient?: string;
}

/**
 * Says of every place whether the guard stands there and still refuses. Resolves with 0, or with 1 if something is broken or
 * nobody asks it yet.
 */
export async function status(argv: readonly string[]): Promise<number> {
  const strange = argv.find((word) => word !== '--json');
  if (strange !== undefined) return wrong(`status does not know ${strange}`);
  try {
    const found: Status[] = [];
    for (const load of Object.values(places)) {
      const kind = await load();
      const all: Status[] = [];
      for (const options of kind.variants) all.push(await statusOf(kind.at(options, thisWorld())));
      // Where it is nowhere, once is enough.
      const there = all.filter(({ state }) => state !== 'not installed');
      found.push(...(there.length > 0 ? there : all.slice(0, 1)));
    }
    const style = await createStyle(wantsColour(process.stdout));
    const width = Math.max(...found.map(({ place }) => place.length)) + 2;
    for (const one of found) {
      const paint = {
        installed: style.green,
        'not installed': style.dim,
        broken: style.red,
        waiting: style.yellow,
      }[one.state];
      const line = argv.includes('--json')
        ? visibleJson(JSON.stringify(one))
        : `${visible(one.place).padEnd(width)}${paint(one.state.padEnd(15))}${visible(summary(one))}`.trimEnd();
      await write('stdout', `${line}\n`);
    }
    return found.some(({ state }) => state === 'broken' || state === 'waiting') ? 1 : 0;
  } catch (error) {
    return failed(error);
  }
}

function summary({ state, tried, answer, lenient }: Status): string {
  if (state === 'installed') return lenient ?? `refuses "${tried ?? ''}"`;
  return state === 'not installed' ? '' : (answer ?? '');
}

async function statusOf(place: Place): Promise<Status> {
  const { name } = place;
  try {
    const state = await stateOf(place);
    if (state === 'not installed') return { place: name, state };
    const again = `safe-update guard install ${name}`;
    if (state === 'incomplete')
      return { place: name, state: 'broken', answer: `part of it is missing or was changed; ${again}` };
    const { denied, tried, answer } = await attempt(place);
    const lenient = denied ? undefined : await leniency();
    if (lenient !== undefined) return { place: name, state, tried, answer: tellingLine(answer), lenient };
    if (!denied)
      return {
        place: name,
        state: 'broken',
        tried,
        answer: `"${tried}" was not refused: ${tellingLine(answer)}`,
      };
    const waiting = await place.waitsFor?.();
    return waiting === undefined
      ? { place: name, state, tried, answer: tellingLine(answer) }
      : { place: name, state: 'waiting', tried, answer: waiting };
  } catch (error) {
    return { place: name, state: 'broken', answer: messageOf(error) };
  }
}

/** Of a long answer, the line that tells most. */
function tellingLine(answer: string): string {
  const lines = visibleLines(answer);
  return lines.find((line) => line.startsWith('safe-update guard: ')) ?? lines.at(-1) ?? '';
}

function thisWorld(): World {
  return {
    home: homedir(),
    cwd: process.cwd(),
    env: process.env,
    exec: createExec(process.env),
    node: process.execPath,
    bin: programFile,
  };
}

async function failed(error: unknown): Promise<number> {
  const style = await createStyle(wantsColour(process.stderr));
  await write('stderr', `${formatError(error, style, process.stderr.columns || 80)}\n`);
  return exitCodeOf(error);
}

async function say(text: string): Promise<void> {
  await write('stdout', `${visible(text)}\n`);
}
