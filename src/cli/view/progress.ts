import type { RunEvent } from '../../model/event.ts';
import { formatBytes } from '../../model/units.ts';

type ProgressEvent = Extract<RunEvent, { type: 'step-progress' }>;

/** How far one thing of a step has come: a volume, a database, an image. */
export interface ItemProgress {
  item: string;
  bytes?: number;
  totalBytes?: number;
  /** Whole percent, at most 100. */
  percent?: number;
  /** Bytes a second over the last seconds. */
  rate?: number;
  /** Milliseconds until it is done at that rate. */
  left?: number;
  text?: string;
  /** `quiet`: probably finished, as others go on and nothing is heard of it; nobody has said so. */
  state: 'running' | 'quiet' | 'finished';
}

/** The things a step works on, as its progress events tell. */
export interface StepProgress {
  update(event: ProgressEvent, at: number): void;
  /** Everything that was worked on, in the order in which it began. */
  items(at: number): ItemProgress[];
}

interface Item {
  last: ProgressEvent;
  firstAt: number;
  lastAt: number;
  finished: boolean;
  samples: { at: number; bytes: number }[];
}

/** Milliseconds the rate looks back. Long enough to be calm, short enough to notice a stall. */
const rateWindow = 10_000;
/** Milliseconds below which a rate is a guess. */
const rateMinimum = 1_500;
/** Milliseconds between two samples that are kept. */
const sampleInterval = 250;
/** Milliseconds after which an item that nothing is heard of, while others go on, is taken for finished. */
const silence = 15_000;
/** The same for an item after whose last word another one began: one after the other, most likely. */
const succession = 1_500;

/** Makes an empty record of a step. All times are milliseconds of one clock. */
export function createProgress(): StepProgress {
  const items = new Map<string, Item>();
  let lastAt = 0;
  let newestFirstAt = 0;

  function stateOf({ finished, lastAt: at }: Item): ItemProgress['state'] {
    if (finished) return 'finished';
    const silentFor = lastAt - at;
    return silentFor >= silence || (newestFirstAt > at && silentFor >= succession) ? 'quiet' : 'running';
  }

  return {
    update(event, at) {
      lastAt = at;
      // What is only a name says what goes on right now: a line of `docker compose pull`, a probe that is waited for.
      for (const [name, item] of items) {
        if (name !== event.item && !item.finished && isBare(item.last)) items.delete(name);
      }
      const item = items.get(event.item) ?? {
        last: event,
        firstAt: at,
        lastAt: at,
        finished: false,
        samples: [],
      };
      if (item.firstAt === at) newestFirstAt = at;
      items.set(event.item, item);
      item.last = event;
      item.lastAt = at;
      item.finished =
        event.done === true || (event.totalBytes !== undefined && event.totalBytes === event.bytes);
      if (event.bytes !== undefined) addSample(item.samples, event.bytes, at);
    },
    items: (at) => [...items.values()].map((item) => measure(item, at, stateOf(item))),
  };
}

/** Whether nothing is told of an item but its name. */
export function isBare({
  bytes,
  totalBytes,
  text,
}: Pick<ItemProgress, 'bytes' | 'totalBytes' | 'text'>): boolean {
  return bytes === undefined && totalBytes === undefined && text === undefined;
}

function addSample(samples: Item['samples'], bytes: number, at: number): void {
  const last = samples.at(-1);
  // Fewer bytes than before: it began again.
  if (last !== undefined && bytes < last.bytes) samples.length = 0;
  const beforeLast = samples.at(-2);
  if (beforeLast !== undefined && (samples.at(-1)?.at ?? 0) - beforeLast.at < sampleInterval) samples.pop();
  samples.push({ at, bytes });
  while ((samples[1]?.at ?? at) <= at - rateWindow) samples.shift();
}

function measure({ last, samples }: Item, at: number, state: ItemProgress['state']): ItemProgress {
  const { item, bytes, totalBytes, text } = last;
  const rate = state === 'running' ? rateOf(samples, at) : undefined;
  return {
    item,
    state,
    ...(bytes === undefined ? {} : { bytes }),
    ...(totalBytes === undefined ? {} : { totalBytes }),
    ...(text === undefined ? {} : { text }),
    ...(rate === undefined ? {} : { rate }),
    // Totals are measured before the reading and can be too small; 100 % and "0 s left" would then be lies.
    ...(bytes === undefined || totalBytes === undefined || totalBytes === 0
      ? {}
      : { percent: Math.min(bytes < totalBytes ? 99 : 100, Math.floor((100 * bytes) / totalBytes)) }),
    ...(bytes === undefined || totalBytes === undefined || bytes >= totalBytes || !rate
      ? {}
      : { left: ((totalBytes - bytes) / rate) * 1000 }),
  };
}

/** Measured up to now, not up to the last sample, so that a stall makes the rate fall. */
function rateOf(samples: Item['samples'], at: number): number | undefined {
  const last = samples.at(-1);
  const first = samples.find((sample) => sample.at > at - rateWindow) ?? last;
  if (first === undefined || last === undefined || at - first.at < rateMinimum) return undefined;
  return ((last.bytes - first.bytes) / (at - first.at)) * 1000;
}

/** A rate as people read it: 240 MB/s. Takes bytes a second. */
export function formatRate(rate: number): string {
  return `${formatBytes(rate)}/s`;
}

/** Whole units only, as the number changes all the time: 9 s, 4 min, 1 h 20 min. Takes milliseconds. */
export function formatTimeLeft(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 6000) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
  return 'days';
}

/** How far an item has come, in one phrase: "1.2 GB of 3.4 GB, 35 %, 240 MB/s, 9 s left". Empty if nothing is known. */
export function formatItem(progress: ItemProgress): string {
  const { bytes, totalBytes, percent, rate, left, text } = progress;
  const parts: string[] = [];
  if (bytes !== undefined) {
    parts.push(
      totalBytes === undefined ? formatBytes(bytes) : `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`,
    );
  }
  if (percent !== undefined) parts.push(`${percent} %`);
  if (rate !== undefined) parts.push(formatRate(rate));
  if (left !== undefined) parts.push(`${formatTimeLeft(left)} left`);
  if (text !== undefined) parts.push(text);
  return parts.join(', ');
}
