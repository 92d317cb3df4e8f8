const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
type Watched = keyof typeof numbers;

/** The signal that ended this run, if one did. */
let received: Watched | undefined;

/** 128 + the signal's number, as shells count; undefined if no signal came. */
export function signalExitCode(): number | undefined {
  return received === undefined ? undefined : 128 + numbers[received];
}

/**
 * Listens for the signals that ask a program to end. The first one aborts `signal`: the run stops what it does and
 * undoes what it began. The next ones only say that the undoing goes on: half a rollback is worse than a late one.
 */
export function watchSignals(say: (message: string) => void): { signal: AbortSignal; stop: () => void } {
  const controller = new AbortController();
  const listeners = (Object.keys(numbers) as Watched[]).map((name) => {
    const listener = (): void => {
      if (received === undefined) {
        received = name;
        say(`${name} received: stopping, and undoing what has begun.`);
        controller.abort();
      } else {
        say(
          'Still undoing. It cannot be stopped half way; kill -9 and then `safe-update recover` would only take longer.',
        );
      }
    };
    process.on(name, listener);
    return { name, listener };
  });
  return {
    signal: controller.signal,
    stop: () => {
      for (const { name, listener } of listeners) process.off(name, listener);
    },
  };
}
