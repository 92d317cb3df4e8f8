import { judge } from '../../guard/shell.ts';
import { visible } from '../view/escape.ts';
import { check } from './check.ts';
import { guardUsage, refused, write, wrong } from './common.ts';
import { hook } from './hook.ts';

/**
 * Runs `safe-update guard …`. Loads nothing of the rest of the program: it stands in front of every command of a person
 * or an agent. Resolves with the exit code and never rejects.
 */
export async function runGuard(argv: readonly string[]): Promise<number> {
  const code = await run(argv);
  // All has been said. An engine that never answers must not keep whoever waits for the exit code.
  setTimeout(() => process.exit(code), lingering).unref();
  return code;
}

/** Milliseconds. */
const lingering = 1_000;

async function run(argv: readonly string[]): Promise<number> {
  try {
    const [command, ...rest] = argv;
    switch (command) {
      case 'check':
        return await check(rest);
      case 'hook':
        return await hook(rest);
      case 'scan': {
        const { scan } = await import('./scan.ts');
        return await scan(rest);
      }
      case 'install':
      case 'uninstall':
      case 'status': {
        const commands = await import('./install/install.ts');
        return await commands[command](rest);
      }
      case 'serve': {
        const { serve } = await import('./serve.ts');
        return await serve(rest);
      }
      case 'approve': {
        const { approve } = await import('./approve.ts');
        return await approve(rest);
      }
      case '--help':
      case '-h':
        await write('stdout', guardUsage);
        return 0;
      default:
        return await wrong(command === undefined ? 'guard what?' : `guard has no ${command}`);
    }
  } catch (error) {
    await write('stderr', `safe-update guard: refused, as this went wrong: ${visible(String(error))}\n`);
    return refused;
  }
}

/** Judges what is usual, so that the functions this takes are compiled. */
export function warmUp(): void {
  for (const text of [
    'docker compose ps',
    'cd /srv/shop && docker compose -f compose.yml --profile web pull -q 2>&1 | tee pull.log',
    'set -e\nfor s in web db; do sudo docker compose -p shop pull "$s"; done\ndocker compose up -d\n',
    'ssh host \'docker compose exec -T db psql -c "select 1"\' && [[ -f x ]] || echo $(date)',
    'git commit -m "x" && rm -rf dist && npm test',
  ])
    judge(text);
}
