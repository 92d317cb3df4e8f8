import { formatDuration } from '../../model/units.ts';
import { whereItStands, type PastRun } from '../../update/journal.ts';
import { whereItStopped } from '../../update/recover.ts';
import { isUnderWay, situationOf, type Situation } from '../../update/situation.ts';
import { print } from '../print.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { formatTime } from '../time.ts';
import type { Style } from '../view/style.ts';
import { formatTable } from '../view/table.ts';
import { paragraph } from '../view/width.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  try {
    const project = await projectNameOf(runtime.context);
    await runtime.tellInterrupted(project);
    const situation = await situationOf(runtime.context, project);
    const runs = situation.runs.map((run) => summaryOf(run, situation)).reverse();
    await print(flags, runs, (style, columns) => {
      if (runs.length === 0) return `There has been no run for ${project} yet.`;
      const table = formatTable(
        [
          { title: 'When' },
          { title: 'Run' },
          { title: 'Result' },
          { title: 'Took', align: 'right' },
          { title: 'Down', align: 'right' },
          { title: 'Backup' },
        ],
        runs.map(({ at, kind, result, milliseconds, downtime, backup }) => [
          formatTime(at),
          kind,
          {
            text: result,
            paint:
              result === 'failed' || result === 'unfinished'
                ? 'red'
                : result === 'rolled-back' || result === 'under-way'
                  ? 'yellow'
                  : 'green',
          },
          milliseconds === undefined ? '' : formatDuration(milliseconds),
          downtime === undefined ? '' : formatDuration(downtime),
          backup ?? '',
        ]),
        style,
        columns,
      );
      return withReasons(table, runs, style, columns);
    });
    return 0;
  } finally {
    await runtime.close();
  }
}

/** A reason is a sentence: it goes under its row and not into a column of its own. */
function withReasons(table: string, runs: readonly Summary[], style: Style, columns: number): string {
  const [titles = '', ...rows] = table.split('\n');
  return [
    titles,
    ...rows.flatMap((row, at) => {
      const { reason, accepted } = runs[at] ?? {};
      const more = [
        ...(reason === undefined ? [] : [reason]),
        ...(accepted === undefined ? [] : [`accepted: ${accepted.join(', ')}`]),
      ];
      return [
        row,
        ...more.flatMap((text) => paragraph(text, columns - 1 - 2, 3)).map((line) => style.dim(`  ${line}`)),
      ];
    }),
  ].join('\n');
}

interface Summary {
  run: string;
  kind: string;
  at: string;
  result: string;
  milliseconds?: number;
  /** The longest any service was down. */
  downtime?: number;
  backup?: string;
  reason?: string;
  /** What was accepted by name. */
  accepted?: string[];
}

/** A run as it is shown. Pure. */
export function summaryOf({ run, entries }: PastRun, situation: Situation): Summary {
  const begin = entries.find((entry) => entry.type === 'begin');
  const end = entries.find((entry) => entry.type === 'end');
  const backup = entries.find((entry) => entry.type === 'backup-sealed')?.id;
  const downtimes = Object.values(end?.downtime ?? {});
  const underWay = end === undefined && isUnderWay(situation, run);
  const reason =
    end !== undefined
      ? end.reason
      : underWay || situation.unknown !== undefined
        ? whereItStands(entries)
        : `interrupted ${whereItStopped(entries).words}`;
  return {
    run,
    kind: begin?.kind ?? '?',
    at: begin?.at ?? '',
    result: end?.result ?? (underWay ? 'under-way' : 'unfinished'),
    ...(begin === undefined || end === undefined
      ? {}
      : { milliseconds: Date.parse(end.at) - Date.parse(begin.at) }),
    ...(downtimes.length === 0 ? {} : { downtime: Math.max(...downtimes) }),
    ...(backup === undefined ? {} : { backup }),
    ...(reason === undefined ? {} : { reason }),
    ...(begin?.accepted === undefined ? {} : { accepted: begin.accepted }),
  };
}
