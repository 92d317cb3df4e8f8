import type { OutputStream, Sink } from './sink.ts';

/** The end of a terminal that is drawn again and again, below lines that stay. */
export interface Screen {
  readonly columns: number;
  /** Prints lines above the live ones. They stay. */
  print(lines: string[]): void;
  /** Draws the live lines as they are now. */
  draw(): void;
  /** Takes the live lines away and gives the cursor back; from now on `print` only prints. */
  release(): void;
}

const hideCursor = '\x1b[?25l';
const showCursor = '\x1b[?25h';
/** Terminals that know these show a frame at once; the others ignore them. */
const beginFrame = '\x1b[?2026h';
const endFrame = '\x1b[?2026l';
const eraseLine = '\x1b[K';
/**
 * This line, then everything below it from the second column on: erasing from the first position of the screen makes
 * some terminals (tmux) keep a copy of all of it in their history.
 */
const eraseBelow = '\x1b[K\x1b[C\x1b[J\r';
const saveCursor = '\x1b7';
const restoreCursor = '\x1b8';
/** Milliseconds between two frames of the animation. */
const frameInterval = 100;

/**
 * Takes the stream, its sink, and a function that returns the live lines: at most `rows` of them, each narrower than
 * `columns`. While it returns none, the cursor is where a prompt expects it, and nothing is drawn.
 *
 * Between two frames the cursor waits at the first column of the first live line. When a terminal is resized it keeps
 * the cursor on the text it is on, so from there everything below can be drawn anew whatever became of the lines.
 * Counting lines upwards, which is the usual way, leaves pieces of old frames behind when a narrower terminal breaks
 * them.
 */
export function createScreen(
  stream: OutputStream,
  sink: Sink,
  live: (size: { columns: number; rows: number }) => string[],
): Screen {
  let drawn: { frame: string; columns: number; rows: number } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let released = false;

  const size = (): { columns: number; rows: number } => ({
    columns: Math.max(20, stream.columns || 80),
    rows: Math.max(4, stream.rows || 24),
  });

  function paint(above: string[]): void {
    const { columns, rows } = size();
    // One row stays free below the live lines: somebody presses Enter to see whether we are alive.
    const lines = released ? [] : live({ columns, rows: rows - 1 }).slice(0, rows - 1);
    const frame = lines.join('\n');
    const sameSize = drawn?.columns === columns && drawn.rows === rows;
    if (above.length === 0 && sameSize && drawn?.frame === frame) return;
    if (above.length === 0 && lines.length === 0 && drawn === undefined) return;

    let text = beginFrame;
    if (drawn === undefined && lines.length > 0) text += hideCursor;
    // What was typed meanwhile has moved the cursor. After a resize, only the terminal knows where it is.
    if (sameSize) text += restoreCursor;
    text += '\r';
    for (const line of [...above, ...lines]) text += `${line}${eraseLine}\n`;
    if (drawn !== undefined) text += eraseBelow;
    if (lines.length > 0) text += `\x1b[${lines.length}A\r${saveCursor}`;
    else if (drawn !== undefined) text += showCursor;
    sink.write(text + endFrame);
    drawn = lines.length > 0 ? { frame, columns, rows } : undefined;
    animate(lines.length > 0);
  }

  function animate(wanted: boolean): void {
    if (wanted && timer === undefined) {
      timer = setInterval(tick, frameInterval);
      // Something else keeps the process running; the animation must not.
      timer.unref();
      stream.on('resize', tick);
    } else if (!wanted && timer !== undefined) {
      clearInterval(timer);
      timer = undefined;
      stream.off('resize', tick);
    }
  }

  /** A frame that cannot be shown now is not worth queueing: there will be a newer one. */
  function tick(): void {
    if (!sink.busy) paint([]);
  }

  return {
    get columns() {
      return size().columns;
    },
    print(lines) {
      paint(lines);
    },
    draw: () => {
      paint([]);
    },
    release() {
      released = true;
      paint([]);
    },
  };
}
