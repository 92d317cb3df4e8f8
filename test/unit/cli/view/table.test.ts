import { Chalk } from 'chalk';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { plain } from '../../../../src/cli/view/style.ts';
import { formatTable, type Cell, type Column } from '../../../../src/cli/view/table.ts';
import { textWidth } from '../../../../src/cli/view/width.ts';

const columns: Column[] = [
  { title: 'BACKUP' },
  { title: 'SIZE', align: 'right' },
  { title: 'NOTE', shrink: true },
  { title: 'STATE' },
];
const rows: Cell[][] = [
  ['pre-update-20241017_143022', '1.9 GB', 'before shop/app:1.1, made by hand on the big machine', 'good'],
  ['failed-20241017_143107', '312 kB', '数据库', { text: 'damaged', paint: 'red' }],
  ['manual-20241001_000000', '12 GB'],
];

describe('a table', () => {
  it('is as wide as it needs to be where nobody says how wide it may be', () => {
    expect(formatTable(columns, rows, plain)).toMatchInlineSnapshot(`
      "BACKUP                        SIZE  NOTE                                                  STATE
      pre-update-20241017_143022  1.9 GB  before shop/app:1.1, made by hand on the big machine  good
      failed-20241017_143107      312 kB  数据库                                                damaged
      manual-20241001_000000       12 GB"
    `);
  });

  it('cuts what may be cut to fit, and never an id', () => {
    const table = formatTable(columns, rows, plain, 60);
    expect(table).toMatchInlineSnapshot(`
      "BACKUP                        SIZE  NOTE             STATE
      pre-update-20241017_143022  1.9 GB  before shop/ap…  good
      failed-20241017_143107      312 kB  数据库           damaged
      manual-20241001_000000       12 GB"
    `);
    expect(table.split('\n').every((line) => textWidth(line) <= 60)).toBe(true);
  });

  it('stays whole and readable where it cannot fit', () => {
    expect(formatTable(columns, rows, plain, 20)).toContain('pre-update-20241017_143022');
  });

  it('colours cells without moving them', () => {
    const table = formatTable(columns, rows, new Chalk({ level: 1 }), 70);
    expect(table).toContain('\x1b[31mdamaged\x1b[39m');
    expect(stripVTControlCharacters(table)).toBe(formatTable(columns, rows, plain, 70));
  });

  it('shows what would drive the terminal', () => {
    expect(formatTable([{ title: 'A' }], [['x\x1b[2J\ny']], plain)).toBe(String.raw`A${'\n'}x\x1b[2J\ny`);
  });

  it('is its titles when there are no rows', () => {
    expect(formatTable(columns, [], plain)).toBe('BACKUP  SIZE  NOTE  STATE');
  });
});
