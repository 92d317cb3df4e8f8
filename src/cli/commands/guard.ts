import { SafeUpdateError } from '../../model/error.ts';

/** bin.ts starts the guard by itself, when it is the first word. Here it came after a flag that it does not have. */
export async function run(): Promise<number> {
  return Promise.reject(
    new SafeUpdateError('usage', 'guard takes its own flags only.', {
      state: 'Nothing was judged.',
      hint: 'Run: safe-update guard --help',
    }),
  );
}
