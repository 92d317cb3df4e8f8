import { Command, CommanderError, Option } from 'commander';
import { SafeUpdateError } from '../model/error.ts';
import { version } from './version.ts';
import type { CommandModule } from './command.ts';

interface Described {
  usage: string;
  summary: string;
  examples: string[];
  options?: Option[];
  /** It reads backups, which need no compose file beside them. */
  filesOptional?: true;
  /** Loaded only when the command runs, so that the others do not wait for it. */
  load: () => Promise<CommandModule>;
  /** Commands below this one: `volumes copy`. */
  commands?: Record<string, Described>;
}

/** Of an option that may be given more than once. */
function list(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

const dryRun = new Option('--dry-run', 'print the plan and do nothing');
const confirm = new Option('--confirm <project>', 'the name of the project, instead of being asked for it');
const only = new Option(
  '--only <what>',
  'volume:NAME, database:SERVICE, database:SERVICE/NAME or config; may be given more than once',
).argParser(list);

const described: Record<string, Described> = {
  update: {
    usage: '[environment]',
    summary: 'back up, pull, stop, rm, up, verify; put everything back if that fails (default)',
    examples: ['safe-update prod', 'safe-update prod --dry-run', 'safe-update --yes --json | tee update.log'],
    options: [dryRun],
    load: () => import('./commands/update.ts'),
  },
  plan: {
    usage: '[environment]',
    summary: 'print what an update would do, and do nothing',
    examples: ['safe-update plan prod'],
    load: () => import('./commands/plan.ts'),
  },
  backup: {
    usage: '[environment]',
    summary: 'back up volumes, databases and configuration',
    examples: ['safe-update backup prod', 'safe-update backup --consistency hot'],
    load: () => import('./commands/backup.ts'),
  },
  backups: {
    usage: '[environment]',
    summary: 'list the backups',
    examples: ['safe-update backups', 'safe-update backups prod --json'],
    filesOptional: true,
    load: () => import('./commands/backups.ts'),
  },
  show: {
    usage: '<backup> [environment]',
    summary: 'what a backup holds',
    examples: [
      'safe-update show pre-update-20241017_143022',
      'safe-update show failed-20241017_143105 --logs',
      'safe-update show failed-20241017_143105 --logs app',
    ],
    options: [
      new Option('--logs [service]', 'print what the services of a failed release printed, or one of them'),
    ],
    filesOptional: true,
    load: () => import('./commands/show.ts'),
  },
  verify: {
    usage: '[backup] [environment]',
    summary: 'read every part of a backup (the newest, if none is named) and compare checksums',
    examples: [
      'safe-update verify',
      'safe-update verify pre-update-20241017_143022',
      'safe-update verify --restore',
      'safe-update verify pre-update-20241017_143022 --restore --without mail',
    ],
    options: [
      new Option(
        '--restore',
        'bring it up apart from everything, compare what it holds, and remove it again',
      ),
      new Option(
        '--without <service>',
        'with --restore: leave this service out; may be given more than once',
      ).argParser(list),
    ],
    filesOptional: true,
    load: () => import('./commands/verify.ts'),
  },
  restore: {
    usage: '<backup> [environment]',
    summary:
      'put a backup back over the present state, which is backed up first; or, with --as, into a new project',
    examples: [
      'safe-update restore pre-update-20241017_143022',
      'safe-update restore pre-update-20241017_143022 --only volume:shop_uploads',
      'safe-update restore pre-update-20241017_143022 --only database:db --confirm shop',
      'safe-update restore pre-update-20241017_143022 --as shop-2 --no-ports',
    ],
    options: [
      only,
      confirm,
      new Option('--as <project>', 'into a new project of this name; the present one is not touched'),
      new Option('--into <folder>', 'with --as: its folder, new or empty (./PROJECT)'),
      new Option('--no-ports', 'with --as: publish no ports, for a second project beside the first'),
    ],
    load: () => import('./commands/restore.ts'),
  },
  export: {
    usage: '<backup> [file]',
    summary: 'write a backup into one file, to take it to another server; - is standard output',
    examples: [
      'safe-update export pre-update-20241017_143022',
      'safe-update export pre-update-20241017_143022 /mnt/usb/shop.tar --images',
      'safe-update export pre-update-20241017_143022 - | ssh new-server "cd /srv && safe-update import -"',
    ],
    options: [new Option('--images', 'with the images, for a server that cannot pull them')],
    load: () => import('./commands/export.ts'),
  },
  import: {
    usage: '<file>',
    summary: 'put an exported backup into the backups folder; - is standard input',
    examples: ['safe-update import shop.tar', 'safe-update import shop.tar --backups /srv/backups'],
    load: () => import('./commands/import.ts'),
  },
  rollback: {
    usage: '[environment]',
    summary: 'go back to before the last update: images, configuration and data',
    examples: ['safe-update rollback prod'],
    options: [confirm],
    load: () => import('./commands/rollback.ts'),
  },
  recover: {
    usage: '[environment]',
    summary: 'finish what an interrupted run left behind',
    examples: ['safe-update recover prod', 'safe-update recover prod --give-up'],
    options: [
      confirm,
      new Option(
        '--give-up',
        'undo nothing: an interrupted run that cannot be undone is in nobody’s way any more',
      ),
    ],
    load: () => import('./commands/recover.ts'),
  },
  status: {
    usage: '[environment]',
    summary: 'what runs, on which images, and the last update and backup',
    examples: ['safe-update status prod'],
    load: () => import('./commands/status.ts'),
  },
  health: {
    usage: '[environment]',
    summary: 'is every service healthy and stable? exit code 0 or 3',
    examples: [
      'safe-update health prod',
      'safe-update health --stable-for 30s',
      'safe-update health prod --wait 2m',
    ],
    options: [
      new Option(
        '--wait <duration>',
        'how long what is not healthy may take to become so (only as long as it is starting)',
      ),
    ],
    load: () => import('./commands/health.ts'),
  },
  volumes: {
    usage: '[environment]',
    summary: 'every volume: what it holds, how much, who uses it, its last backup',
    examples: ['safe-update volumes prod', 'safe-update volumes copy uploads uploads_2'],
    load: () => import('./commands/volumes.ts'),
    commands: {
      copy: {
        usage: '<from> <to> [environment]',
        summary: 'copy a volume into a new or empty one, and prove both equal',
        examples: ['safe-update volumes copy uploads shop_uploads_2'],
        load: () => import('./commands/volumes-copy.ts'),
      },
    },
  },
  history: {
    usage: '[environment]',
    summary: 'the runs so far and how they ended',
    examples: ['safe-update history prod'],
    filesOptional: true,
    load: () => import('./commands/history.ts'),
  },
  prune: {
    usage: '[environment]',
    summary: 'remove old backups; the newest ones stay',
    examples: ['safe-update prune', 'safe-update prune --keep 10 --dry-run'],
    options: [dryRun],
    load: () => import('./commands/prune.ts'),
  },
  init: {
    usage: '[environment]',
    summary: 'write a first safe-update.yml that names every volume and database',
    examples: ['safe-update init', 'safe-update init --dry-run'],
    options: [dryRun],
    load: () => import('./commands/init.ts'),
  },
  doctor: {
    usage: '[environment]',
    summary: 'check engine, compose, configuration, space and permissions',
    examples: ['safe-update doctor prod'],
    load: () => import('./commands/doctor.ts'),
  },
  guard: {
    usage: '[what...]',
    summary: 'keep commands that delete volumes out of production: check, scan, hook',
    examples: [
      'safe-update guard check -- docker compose stop',
      'safe-update guard scan',
      'safe-update guard --help',
    ],
    load: () => import('./commands/guard.ts'),
  },
};

/** Builds the program and runs it. Resolves with the exit code; throws what a command throws. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = new Command('safe-update')
    .description(
      'Update a docker compose stack: backup, pull, stop, rm, up, verify, and an automatic way back.',
    )
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .configureOutput({
      // Errors are printed in one place, with what to do next.
      writeErr: () => undefined,
    })
    .showSuggestionAfterError(true)
    .option('-f, --file <path>', 'compose file; may be given more than once', list)
    .option('-p, --project-name <name>', 'project name')
    .option('--profile <name>', 'profile to enable; may be given more than once', list)
    .option('--env-file <path>', 'env file; may be given more than once', list)
    .option('--project-directory <path>', 'folder that relative paths in the compose files start from')
    .option('--config <path>', 'safe-update.yml to read')
    .option('--backups <path>', 'folder of the backups')
    .option('--identity <path>', 'file with the age identity that encrypted backups are read with')
    .option('--keep <number>', 'how many backups to keep')
    .option('--caches', 'also archive volumes of the class cache')
    .addOption(
      new Option(
        '--consistency <mode>',
        'cold: exact, while the stack is stopped; hot: while it runs',
      ).choices(['cold', 'hot']),
    )
    .addOption(
      new Option('--pull <policy>', 'which images to ask the registry for').choices([
        'always',
        'missing',
        'never',
      ]),
    )
    .option('--lock-wait <duration>', 'how long to wait while another run holds the lock (not at all)')
    .option('--pull-timeout <duration>', 'how long pulling or building may take (30m)')
    .option('--dump-timeout <duration>', 'how long each database client may take (30m)')
    .option('--stop-timeout <duration>', "how long stopping may take (no limit but the services' own)")
    .option('--up-timeout <duration>', 'how long starting may take (as long as --verify-timeout)')
    .option('--verify-timeout <duration>', 'how long the new release may take to become healthy (5m)')
    .option('--stable-for <duration>', 'how long it must then stay healthy (10s)')
    .option('--helper-image <name>', 'image of the helper container, instead of building one')
    .option('--minimum-free <percent>', 'how much of the disk must stay free (10)')
    .option(
      '--accept <name>',
      'go on although this was refused; the refusal says the name; may be given more than once',
      list,
    )
    .option('-y, --yes', 'do not ask')
    .option('--json', 'one JSON event a line on standard output')
    .option('-q, --quiet', 'only warnings, failures and the outcome')
    .option('-v, --verbose', 'also what each step works on')
    .addHelpText(
      'after',
      '\nExamples:\n  safe-update prod\n  safe-update plan prod\n  safe-update backups prod\n  safe-update rollback prod\n\nHelp on one command: safe-update COMMAND --help',
    );

  const commands = Object.keys(described);
  const add = (parent: Command, name: string, about: Described): void => {
    const { usage, summary, examples, options, load, filesOptional } = about;
    const built = parent
      .command(`${name} ${usage}`, { isDefault: name === 'update' })
      .description(summary)
      .addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`);
    for (const option of options ?? []) built.addOption(option);
    built.action(async (...values: unknown[]) => {
      const self = values.pop() as Command;
      values.pop();
      const command = await load();
      exitCode = await command.run({
        args: values as (string | undefined)[],
        flags: { ...self.optsWithGlobals(), ...(filesOptional === undefined ? {} : { filesOptional }) },
        // After a command that was given, the word is an environment: nobody is to be led from a plan to an update.
        commands: commands.includes(program.args[0] ?? '') ? [] : commands,
      });
    });
    for (const [below, more] of Object.entries(about.commands ?? {})) add(built, below, more);
  };
  for (const [name, about] of Object.entries(described)) add(program, name, about);

  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    throw new SafeUpdateError('usage', error.message.replace(/^error: /, ''), {
      state: 'Nothing was touched.',
      hint:
        error.code === 'commander.missingArgument' && error.message.includes("'backup'")
          ? 'See which there are: safe-update backups'
          : 'Run: safe-update --help',
    });
  }
  return exitCode;
}
