import { visibleJson, visibleOutput } from './view/escape.ts';
import { createStyle, type Style } from './view/style.ts';
import { wantsColour } from './terminal.ts';

/** Prints a result on standard output: as JSON with --json, else as `format` lays it out for people. */
export async function print(
  flags: { json?: boolean },
  value: unknown,
  format: (style: Style, columns: number) => string,
): Promise<void> {
  const text =
    flags.json === true
      ? visibleJson(JSON.stringify(value))
      : visibleOutput(format(await createStyle(wantsColour(process.stdout)), process.stdout.columns || 80));
  await new Promise<void>((resolve) => {
    process.stdout.write(`${text}\n`, () => {
      resolve();
    });
  });
}
