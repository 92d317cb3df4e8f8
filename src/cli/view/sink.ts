/** What a view needs of an output stream; process.stdout and process.stderr are such streams. */
export interface OutputStream {
  write(text: string, taken?: (error?: Error | null) => void): boolean;
  on(event: 'error' | 'resize', listener: (error: Error) => void): unknown;
  off(event: 'error' | 'resize', listener: (error: Error) => void): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
}

/** An output that cannot hurt the run: whatever becomes of the reader, writing neither throws nor waits. */
export interface Sink {
  write(text: string): void;
  /** True while the reader has not taken what was written before. What is only worth seeing now can be left out. */
  readonly busy: boolean;
  /** Resolves when everything written is taken, when the reader is gone, or after a time limit; never rejects. */
  flush(): Promise<void>;
}

/** Milliseconds `flush` waits for a reader that does not read. */
const flushLimit = 10_000;

/**
 * Takes a stream and returns the sink that writes to it. A reader that went away (EPIPE of a closed pipe, EIO of a lost
 * terminal) makes the sink silent. The stream keeps the sink's error listener for good: such an error can arrive long
 * after the write that caused it.
 */
export function createSink(stream: OutputStream): Sink {
  let gone = false;
  let waiting = 0;
  const drained = new Set<() => void>();

  function settle(): void {
    for (const resolve of drained) resolve();
    drained.clear();
  }
  function taken(): void {
    waiting -= 1;
    if (waiting === 0) settle();
  }
  function lose(): void {
    gone = true;
    waiting = 0;
    settle();
  }

  stream.on('error', lose);
  if (stream.isTTY === true) stopBlocking(stream);

  return {
    get busy() {
      return waiting > 0;
    },
    write(text) {
      if (gone) return;
      waiting += 1;
      try {
        stream.write(text, (error) => {
          if (error) lose();
          else if (!gone) taken();
        });
      } catch {
        lose();
      }
    },
    async flush() {
      if (waiting === 0) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, flushLimit);
        drained.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    },
  };
}

/**
 * Node writes to a terminal synchronously: when the other side stops reading (Ctrl-S, an ssh connection whose network
 * is gone), the whole process stands still inside write(2), in the middle of an update. There is no public way to
 * ask for asynchronous writes, hence the handle; without it everything works, except in that situation.
 */
function stopBlocking(stream: OutputStream): void {
  const { _handle: handle } = stream as { _handle?: { setBlocking?: (blocking: boolean) => number } };
  try {
    handle?.setBlocking?.(false);
  } catch {
    // Blocking it stays.
  }
}
