import type { OutputStream } from '../../../../src/cli/view/sink.ts';

/** A stream that keeps what was written to it. */
export class FakeStream implements OutputStream {
  text = '';
  columns: number | undefined;
  rows: number | undefined;
  isTTY: boolean;
  /** What each further write does: takes it, never takes it, fails later, or throws. */
  behaviour: 'takes' | 'hangs' | 'fails' | 'throws' = 'takes';
  readonly #listeners = new Map<string, Set<(error: Error) => void>>();

  constructor(size?: { columns: number; rows: number }) {
    this.isTTY = size !== undefined;
    this.columns = size?.columns;
    this.rows = size?.rows;
  }

  write(text: string, taken?: (error?: Error | null) => void): boolean {
    if (this.behaviour === 'throws') throw new Error('write after end');
    if (this.behaviour === 'hangs') return false;
    if (this.behaviour === 'fails') {
      const error = new Error('write EPIPE');
      queueMicrotask(() => {
        taken?.(error);
        if (this.listeners('error') === 0) throw error;
        this.say('error', error);
      });
      return false;
    }
    this.text += text;
    if (taken !== undefined) queueMicrotask(taken);
    return true;
  }

  on(event: string, listener: (error: Error) => void): void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
  }

  off(event: string, listener: (error: Error) => void): void {
    this.#listeners.get(event)?.delete(listener);
  }

  listeners(event: string): number {
    return this.#listeners.get(event)?.size ?? 0;
  }

  say(event: string, error = new Error(event)): void {
    for (const listener of this.#listeners.get(event) ?? []) listener(error);
  }

  get lines(): string[] {
    return this.text.replace(/\n$/, '').split('\n');
  }
}

/**
 * As much of a terminal as the view drives: lines that break at the right edge and scroll away at the bottom, and the
 * sequences of screen.ts. Anything else throws, so that nothing else is sent without a test noticing.
 */
export class FakeTerminal extends FakeStream {
  cursorVisible = true;
  readonly #size: { columns: number; rows: number };
  /** Everything, the lines that scrolled away included. */
  #screen: string[][] = [[]];
  #row = 0;
  #column = 0;
  #saved = { row: 0, column: 0 };

  constructor(size: { columns: number; rows: number }) {
    super(size);
    this.#size = size;
  }

  override write(text: string, taken?: (error?: Error | null) => void): boolean {
    // eslint-disable-next-line no-control-regex
    for (const [part] of text.matchAll(/\x1b\[\??\d*[A-Za-z]|\x1b[78]|[^\x1b]/gu)) this.#obey(part);
    return super.write(text, taken);
  }

  /** The first row that can be seen. */
  get #top(): number {
    return Math.max(0, this.#screen.length - this.#size.rows);
  }

  #obey(part: string): void {
    // eslint-disable-next-line no-control-regex
    if (/^\x1b\[\d*m$/.test(part) || /^\x1b\[\?2026[hl]$/.test(part)) return;
    if (part === '\x1b[?25l') this.cursorVisible = false;
    else if (part === '\x1b[?25h') this.cursorVisible = true;
    else if (part === '\x1b7') this.#saved = { row: this.#row - this.#top, column: this.#column };
    else if (part === '\x1b8') {
      this.#row = this.#saved.row + this.#top;
      this.#column = this.#saved.column;
    } else if (part === '\x1b[K') this.#line().length = Math.min(this.#line().length, this.#column);
    else if (part === '\x1b[J') {
      if (this.#row === this.#top && this.#column === 0) throw new Error('some terminals keep a copy now');
      this.#line().length = Math.min(this.#line().length, this.#column);
      for (let row = this.#row + 1; row < this.#screen.length; row += 1) this.#screen[row] = [];
    } else if (part === '\x1b[C') this.#column += 1;
    // eslint-disable-next-line no-control-regex
    else if (/^\x1b\[\d+A$/.test(part))
      this.#row = Math.max(this.#top, this.#row - Number(part.slice(2, -1)));
    else if (part === '\r') this.#column = 0;
    else if (part === '\n') this.#down();
    else if (part >= ' ') {
      if (this.#column >= this.#size.columns) this.#down();
      while (this.#line().length < this.#column) this.#line().push(' ');
      this.#line()[this.#column] = part;
      this.#column += 1;
    } else throw new Error(`the view sent ${JSON.stringify(part)}`);
  }

  #line(): string[] {
    return (this.#screen[this.#row] ??= []);
  }

  #down(): void {
    this.#row += 1;
    this.#column = 0;
    this.#line();
  }

  /** Everything that was ever scrolled away, and what can be seen, without empty lines at the end. */
  get shown(): string[] {
    const lines = this.#screen.map((line) => line.join('').trimEnd());
    while (lines.at(-1) === '') lines.pop();
    return lines;
  }
}
