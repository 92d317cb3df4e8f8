import { describe, expect, it } from 'vitest';
import { formatError, formatOutcome } from '../../../../src/cli/view/outcome.ts';
import { plain } from '../../../../src/cli/view/style.ts';
import { SafeUpdateError } from '../../../../src/model/error.ts';
import { rolledBack, updated } from './examples.ts';

describe('an outcome', () => {
  it('of a good run ends with the way back', () => {
    expect(formatOutcome(updated, plain)).toMatchInlineSnapshot(`
      "✔ shop is updated · in 1 min 42 s
        Downtime      web 14.3 s · app 14.2 s · db 13.1 s
        Backup        pre-update-20241017_143022

      To go back: safe-update rollback prod --to pre-update-20241017_143022"
    `);
  });

  it('of a rolled back run says what failed, what is now, and what to do', () => {
    expect(formatOutcome(rolledBack, plain)).toMatchInlineSnapshot(`
      "✖ shop: the run failed and was rolled back · in 1 min 42 s

        What failed
          app did not become healthy within 60 s.

        State now
          Everything is as it was before the run: images, configuration and data.

        Next
          Look at what app wrote: safe-update show failed-20241017_143107 --logs app

        Backup        pre-update-20241017_143022
        Failed state  failed-20241017_143107 (kept, nothing of it is lost)"
    `);
  });

  it('shows what the services said last by which it failed, and no control characters of theirs', () => {
    const text = formatOutcome(
      {
        ...rolledBack,
        lastWords: [
          { service: 'migrate', lines: ['column "name" does not exist', '\u001b[31mred\u001b[0m'] },
          { service: 'app', lines: [], healthcheck: 'curl: (7) Failed to connect' },
        ],
      },
      plain,
    );
    const [, said = ''] = text.split('healthy within 60 s.\n');
    expect(said.split('\n  State now')[0]).toMatchInlineSnapshot(`
      "
          migrate said last:
            │ column "name" does not exist
            │ \\x1b[31mred\\x1b[0m

          app said last:
            │ (nothing)
          Its healthcheck said: curl: (7) Failed to connect
      "
    `);
  });

  it('of a run that failed before its project was known names none', () => {
    const error = { code: 'usage', message: 'There is no terminal to ask on.' } as const;
    const text = formatOutcome({ ...rolledBack, result: 'failed', project: '', error }, plain);
    expect(text).toMatch(/^✖ The run failed · /);
  });

  it('never breaks the command, however narrow the terminal', () => {
    const lines = formatOutcome(updated, plain, 40).split('\n');
    expect(lines.at(-1)).toBe(`To go back: ${updated.rollbackCommand ?? ''}`);
    expect(lines).toContain('    pre-update-20241017_143022');
  });

  it('of an incomplete rollback leads to recover, even if the error says nothing more', () => {
    const text = formatOutcome(
      {
        ...rolledBack,
        result: 'failed',
        error: { code: 'rollback-incomplete', message: 'uploads: no space left' },
      },
      plain,
    );
    expect(text).toContain('Something is not as it was');
    expect(text).toContain('safe-update recover');
    expect(text).not.toContain('was rolled back');
  });

  it('claims nothing about the state that it was not told', () => {
    const error = { code: 'compose', message: 'up failed' } as const;
    expect(formatOutcome({ ...rolledBack, result: 'failed', error }, plain)).not.toContain('State now');
  });

  it('says so when no service was down', () => {
    expect(formatOutcome({ ...updated, downtime: { app: 0 } }, plain)).toContain('Downtime      none');
  });

  it('keeps the end of a long message, where the reason is', () => {
    const message = `${'noise\n'.repeat(500)}\x1b[31mno space left on device`;
    const text = formatOutcome({ ...rolledBack, error: { code: 'compose', message } }, plain);
    expect(text).toContain(String.raw`\x1b[31mno space left on device`);
    expect(text.split('\n').length).toBeLessThan(60);
  });
});

describe('an error', () => {
  it('made for people has three parts and no stack', () => {
    const error = new SafeUpdateError('space', 'The backup needs 4.1 GB, and 1.2 GB are free on /backups.', {
      state: 'Nothing was touched.',
      hint: 'Make room, or let old backups go: safe-update prune prod',
      cause: new Error('ENOSPC'),
    });
    expect(formatError(error)).toMatchInlineSnapshot(`
      "✖ The backup needs 4.1 GB, and 1.2 GB are free on /backups.
        ENOSPC

        State now
          Nothing was touched.

        Next
          Make room, or let old backups go: safe-update prune prod"
    `);
  });

  it('that nobody expected keeps its stack and asks to be reported', () => {
    const text = formatError(new TypeError('x is not a function', { cause: new Error('inner\x07') }));
    expect(text).toContain('TypeError: x is not a function');
    expect(text).toMatch(/at .*outcome\.test\.ts/);
    expect(text).toContain(String.raw`Caused by: Error: inner\x07`);
    expect(text).toContain('report it');
    expect(formatError('a string')).toContain('a string');
  });
});
