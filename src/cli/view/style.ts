type Paint = (text: string) => string;

/** The few ways in which text is set apart. A chalk instance is one; `plain` changes nothing. */
export interface Style {
  bold: Paint;
  dim: Paint;
  red: Paint;
  green: Paint;
  yellow: Paint;
  cyan: Paint;
}

const same: Paint = (text) => text;

/** No colours and no control characters. */
export const plain: Style = { bold: same, dim: same, red: same, green: same, yellow: same, cyan: same };

/**
 * Takes whether colours are wanted, which the caller decides (NO_COLOR, FORCE_COLOR, what the stream is), and returns
 * the style. Chalk is loaded only when it is needed. Only the terminal's own sixteen colours are used, so that its
 * theme, light or dark, stays readable.
 */
export async function createStyle(colour: boolean): Promise<Style> {
  if (!colour) return plain;
  const { Chalk } = await import('chalk');
  return new Chalk({ level: 1 });
}
