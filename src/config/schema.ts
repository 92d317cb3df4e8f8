import { z } from 'zod';
import {
  engineNames,
  projectNamePattern,
  type EngineName,
  type Project,
  type VolumeClass,
} from '../model/project.ts';
import { isIdentity, isRecipient } from '../model/recipient.ts';
import type { Retention } from '../model/retention.ts';
import { durationPattern, longestDuration, parseDuration } from './duration.ts';

/** What holds where nothing is configured, as it would be written in safe-update.yml. */
export const defaults = {
  backups: { directory: './backups', keep: 5, caches: false },
  consistency: 'cold',
  timeouts: { lock: '0s', pull: '30m', dump: '30m', verify: '5m', stableFor: '10s' },
  pull: 'always',
  space: { minimumFree: 10 },
  guard: { policy: 'block', fresh: '24h' },
} as const;

const words = (expected: string) => ({ error: `expected ${expected}` });

const path = z.string().min(1, words('a path'));

export const expectedRecipient = 'a recipient as age-keygen prints it: age1 and 58 letters and digits';

/** No dots and no slashes: the name becomes part of file names. */
export const environmentNamePattern = /^[A-Za-z0-9][A-Za-z0-9_-]*$/;

interface DurationMeta {
  description: string;
  default?: string;
  zero?: boolean;
}

/** Written "90s", "5m", "1h30m" or as a number of seconds; milliseconds once parsed. */
function duration({ zero = false, ...meta }: DurationMeta) {
  const expected = words('a duration such as 90s, 5m or 1h30m, or a number of seconds');
  return z
    .union([z.number().min(0, expected), z.string().regex(durationPattern, expected)], expected)
    .meta(meta)
    .transform((written, context) => {
      const milliseconds = parseDuration(written);
      const message =
        milliseconds === undefined
          ? expected.error
          : milliseconds > longestDuration
            ? 'expected at most 24 days'
            : milliseconds === 0 && !zero
              ? 'expected more than zero: with no time at all the step could never succeed'
              : undefined;
      if (milliseconds !== undefined && message === undefined) return milliseconds;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    });
}

export const guardPolicies = ['block', 'warn', 'off'] as const;

/** What the guard does about a command that would lose something. */
const guardPolicy = () => z.enum(guardPolicies, words('block, warn or off'));

const freshMeta = {
  description:
    'How old the newest backup of a volume may be so that the guard lets the volume be deleted. The backup must be sealed, and its checksums are compared at that moment.',
  default: defaults.guard.fresh,
};

/** How many of something are kept. */
const count = () =>
  z
    .int(words('a whole number'))
    .min(1, words('1 or more: the last good backup is never removed'))
    .max(10_000, words('10000 or less'));

/** What can be said for the whole file, and again, differently, for one environment. */
const shape = {
  project: z
    .string()
    .regex(projectNamePattern, words('lowercase letters, digits, - and _, beginning with a letter or digit'))
    .optional()
    .describe(
      "The compose project's name, like -p. Without it compose decides: COMPOSE_PROJECT_NAME, then `name:` in the compose file, then the folder's name. " +
        'Volumes are named after it, so change it for a new stack only.',
    ),
  directory: path
    .optional()
    .describe(
      'The project directory, like --project-directory. Relative paths in the compose files start here. Without it: the folder of the first compose file.',
    ),
  files: z
    .array(path)
    .min(1, words('at least one compose file'))
    .optional()
    .describe(
      'The compose files in the order they are merged, like -f. Without it: COMPOSE_FILE, then the names compose looks for itself. As with -f, `*.override.yml` is merged only if it is listed.',
    ),
  envFiles: z
    .array(path)
    .min(1, words('at least one env file'))
    .optional()
    .describe(
      'Env files for the variables in the compose files, like --env-file; later ones win. As with --env-file, `.env` is then read only if it is listed.',
    ),
  profiles: z
    .array(z.string().min(1, words("a profile's name")))
    .min(1, words('at least one profile'))
    .optional()
    .describe('Profiles to enable, like --profile. Without it: COMPOSE_PROFILES.'),
  backups: z
    .strictObject({
      directory: path.optional().meta({
        description:
          'Where backups are written. Without it: the folder `backups` in the project directory. It should be on a disk with room for all volumes, compressed.',
        default: defaults.backups.directory,
      }),
      keep: z
        .union(
          [
            count(),
            z
              .strictObject({
                last: count().optional().describe('The newest ones.'),
                hourly: count().optional().describe('The newest of each hour, for so many hours.'),
                daily: count().optional().describe('The newest of each day, for so many days.'),
                weekly: count().optional().describe('The newest of each week, for so many weeks.'),
                monthly: count().optional().describe('The newest of each month, for so many months.'),
                yearly: count().optional().describe('The newest of each year, for so many years.'),
                days: count()
                  .optional()
                  .describe('All that are not older than so many days before the newest one.'),
              })
              .refine((rules) => Object.values(rules).some((rule) => rule !== undefined), {
                error: 'expected at least one of last, hourly, daily, weekly, monthly, yearly and days',
              }),
          ],
          words('a whole number, or rules such as { last: 5, daily: 7 }'),
        )
        .optional()
        .meta({
          description:
            'Which backups are kept: a number of the newest ones, or rules, of which one is enough to keep a backup. Others are removed after a successful update.',
          default: defaults.backups.keep,
        }),
      caches: z.boolean(words('true or false')).optional().meta({
        description: 'Also archive volumes of the class `cache`.',
        default: defaults.backups.caches,
      }),
      encryption: z
        .strictObject({
          recipients: z
            .array(z.string().refine(isRecipient, words(expectedRecipient)))
            .min(1, words('at least one recipient'))
            .optional()
            .describe(
              'Whom backups are encrypted for, with age: `age1…`, as age-keygen prints it. Each of them can read every backup alone. The server itself needs no more than this.',
            ),
          recipientsFile: path
            .optional()
            .describe(
              'A file with more recipients, one a line; lines that begin with # are comments. Relative to the folder of this file.',
            ),
          identityFile: path
            // It would be in the next error message, and with the flag in the list of processes.
            .refine((given) => !isIdentity(given), words('the path of a file, not the identity itself'))
            .optional()
            .describe(
              'A file with an identity (`AGE-SECRET-KEY-1…`) that backups are read with, like --identity. Only its owner may have access to it. Whoever has it can read the backups, so it is better kept elsewhere and named when it is needed. Relative to the folder of this file.',
            ),
        })
        .optional()
        .describe(
          'Encryption of the backups. Without recipients they are not encrypted. Backups that were made before stay as they are.',
        ),
    })
    .optional()
    .describe('Where backups go, how many are kept, and what is in them.'),
  consistency: z.enum(['cold', 'hot']).optional().meta({
    description:
      '`cold` archives the volumes while the stack is stopped: the one exact copy. `hot` archives them while it runs, which shortens the downtime; databases then come back from their dumps.',
    default: defaults.consistency,
  }),
  pull: z.enum(['always', 'missing', 'never']).optional().meta({
    description:
      'Which images are pulled before the update: `always` all of them, `missing` those the engine does not have, `never` none.',
    default: defaults.pull,
  }),
  timeouts: z
    .strictObject({
      lock: duration({
        description: 'How long to wait where another run holds the lock. Without it: not at all.',
        default: defaults.timeouts.lock,
        zero: true,
      }).optional(),
      pull: duration({
        description: 'How long pulling and building the images may take.',
        default: defaults.timeouts.pull,
      }).optional(),
      dump: duration({
        description: 'How long the dump of one database may take.',
        default: defaults.timeouts.dump,
      }).optional(),
      stop: duration({
        description:
          'How long stopping the services may take. Without it there is no limit but the stop_grace_period of each service.',
      }).optional(),
      up: duration({
        description:
          'How long creating and starting the containers may take, with waiting for those that others need. Without it: as long as `verify`, and the start periods of all healthchecks.',
      }).optional(),
      verify: duration({
        description:
          'How long the stack may take to be healthy after it was started. When it runs out, the update is rolled back; a service whose healthcheck has a longer start_period gets that.',
        default: defaults.timeouts.verify,
      }).optional(),
      stableFor: duration({
        description:
          'How long every check must stay good, without a break, before the update counts as done.',
        default: defaults.timeouts.stableFor,
        zero: true,
      }).optional(),
    })
    .optional()
    .describe('Time limits. A duration is written 90s, 5m or 1h30m; a bare number is seconds.'),
  helper: z
    .strictObject({
      image: z
        .string()
        .regex(/^[A-Za-z0-9][^\s]*$/, words("an image's name"))
        .optional()
        .describe(
          'Image of the container that reads and writes the volumes. It needs bash, GNU tar, coreutils, findutils, zstd and python3. Without it, safe-update builds one on the engine, once.',
        ),
    })
    .optional()
    .describe('The container that reads and writes the volumes.'),
  bindMounts: z
    .strictObject({
      include: z
        .array(path)
        .optional()
        .describe(
          "Writable bind mounts to back up and roll back like volumes: paths or globs, relative to the project directory. A path covers everything below it. A database's own files are covered without being listed.",
        ),
    })
    .optional()
    .describe('Folders of the host that services write to.'),
  volumes: z
    .record(
      z.string().min(1, words("a volume's name")),
      z.strictObject({
        class: z
          .enum(['critical', 'recreatable', 'cache'], words('critical, recreatable or cache'))
          .optional()
          .meta({
            description:
              '`critical`: archived with every backup. `recreatable`: archived too, but left out when there is no room for it otherwise. `cache`: not archived unless backups.caches or --caches says so. What is left out is neither in the backup nor put back by a rollback. The label `safe-update.class` on the volume says the same.',
            default: 'critical',
          }),
        shared: z
          .literal('allow', words('allow'))
          .optional()
          .describe(
            'A volume that containers of another project mount too is refused, because restoring it changes what they see. `allow` says that this is known and wanted.',
          ),
        mayBecomeEmpty: z
          .boolean(words('true or false'))
          .optional()
          .describe(
            'A release may remove all files of this volume, as of a spool or a folder of thumbnails. Without it an update after which a volume that held files is empty, or nearly so, is rolled back.',
          ),
      }),
    )
    .optional()
    .describe('Single volumes, by the name in the compose files or by the name on the engine.'),
  services: z
    .record(
      z.string().min(1, words("a service's name")),
      z.strictObject({
        oneShot: z
          .boolean(words('true or false'))
          .optional()
          .describe(
            '`true`: it does its work and ends with 0, and runs again with each release. `false`: it is a server, and was stopped on purpose where it does not run. Without it, safe-update goes by how it ended, by the services that wait for it, and by its looks, and says so where it can only guess.',
          ),
      }),
    )
    .optional()
    .describe('Single services, by their name.'),
  databases: z
    .record(
      z.string().min(1, words("a service's name")),
      z.strictObject({
        engine: z
          .enum([...engineNames, 'none'], words([...engineNames, 'none'].join(', ')))
          .optional()
          .describe(
            'What kind of database the service is, where its image does not tell. `none`: it is not dumped. Its files are then only in the archive of a cold backup, made while it is stopped, and come back from there; a hot backup or update is refused, as a copy of files that a server is writing to is none. The label `safe-update.database` on the service says the same.',
          ),
        user: z
          .string()
          .min(1, words("a user's name"))
          .optional()
          .describe(
            "A user who may read everything. Only where the container's own environment has none. It goes with `passwordFile`.",
          ),
        passwordFile: path
          .optional()
          .describe(
            "A file on this machine that holds that user's password, and nothing else. Relative to the project directory.",
          ),
        mayBecomeEmpty: z
          .array(z.string().min(1, words('a name')))
          .optional()
          .describe(
            'Tables, collections or key spaces that a release may empty or remove, such as a queue: `shop.public.jobs`, as the message says it. `*` stands for anything. An update after which anything else that held data is empty or gone is rolled back.',
          ),
      }),
    )
    .optional()
    .describe('Single databases, by the name of their service.'),
  space: z
    .strictObject({
      minimumFree: z
        .number()
        .min(0, words('a percentage from 0 to 99'))
        .max(99, words('a percentage from 0 to 99'))
        .optional()
        .meta({
          description:
            'Percentage of each disk that must still be free when the backup is written. An update that would leave less is refused before anything is touched.',
          default: defaults.space.minimumFree,
        }),
    })
    .optional()
    .describe('How full the disks may become.'),
  guard: z
    .strictObject({
      policy: guardPolicy().optional().meta({
        description:
          "What `safe-update guard` does about a command that would lose this project's data: `block` refuses it, `warn` only says so, `off` says nothing. Where the machine's own file says something, this can only be stricter.",
        default: defaults.guard.policy,
      }),
      fresh: duration(freshMeta).optional(),
    })
    .optional()
    .describe('What `safe-update guard` does about commands against this project.'),
};

/** The settings of one layer: the whole file's, one environment's, or the command line's. */
export const optionsSchema = z.strictObject(shape);

/** The content of safe-update.yml. */
export const configSchema = z.strictObject({
  ...shape,
  environments: z
    .record(
      z
        .string()
        .regex(environmentNamePattern, words('letters, digits, - and _ in the name of an environment')),
      // `prod:` with nothing after it names an environment that differs in nothing.
      z.preprocess((written) => written ?? {}, optionsSchema),
    )
    .optional()
    .describe(
      'Environments by name: `safe-update prod` takes `prod`. Everything above can be said here again; what is said here wins.',
    ),
});

/** Names, or patterns in which `*` stands for anything. */
const guarded = () =>
  z.record(
    z
      .string()
      .min(1, words('a name'))
      .refine((name) => name.split('*').length <= 6, words('five * or less')),
    guardPolicy(),
  );

/** The content of the guard's own file, which is about all projects of a machine. */
export const guardFileSchema = z.strictObject({
  policy: guardPolicy().optional(),
  fresh: duration(freshMeta).optional(),
  projects: guarded().optional(),
  volumes: guarded().optional(),
});

export type Options = z.output<typeof optionsSchema>;

/** safe-update.yml as parsed: durations are milliseconds, paths are as written. */
export type ConfigFile = z.output<typeof configSchema>;

/** Everything a run needs to know, resolved: paths are absolute, durations milliseconds. */
export interface Settings {
  /** `name` is absent where compose decides; `docker compose config` tells it then. */
  project: Omit<Project, 'name'> & { name?: string };
  /** The safe-update.yml that was read. */
  configFile?: string;
  backups: {
    directory: string;
    keep: Retention;
    /** Archive volumes of the class `cache` too. */
    caches: boolean;
    encryption: {
      /** None: backups are not encrypted. */
      recipients: string[];
      identityFile?: string;
    };
  };
  consistency: 'cold' | 'hot';
  pull: 'always' | 'missing' | 'never';
  timeouts: {
    lock: number;
    pull: number;
    dump: number;
    /** Absent: no limit but the services' own. */
    stop?: number;
    /** Absent: `verify` and the start periods of all healthchecks. */
    up?: number;
    verify: number;
    stableFor: number;
  };
  helper: {
    /** Absent: the image that safe-update builds. */
    image?: string;
  };
  bindMounts: {
    /** Absolute paths and globs; `coversBindMount` reads them. */
    include: string[];
  };
  /** By the key in the compose files or by the name on the engine; `sharingAllowed` and `classify` read them. */
  volumes: Record<
    string,
    {
      shared?: 'allow' | undefined;
      class?: VolumeClass | undefined;
      mayBecomeEmpty?: boolean | undefined;
    }
  >;
  /** By service. */
  services: Record<string, { oneShot?: boolean | undefined }>;
  /** By service. Paths are absolute. */
  databases: Record<
    string,
    {
      engine?: EngineName | 'none' | undefined;
      user?: string | undefined;
      passwordFile?: string | undefined;
      mayBecomeEmpty?: string[] | undefined;
    }
  >;
  space: {
    /** Percent of the disk. */
    minimumFree: number;
  };
  /** As this project's file has it; the machine's own file may ask for more. `fresh` is milliseconds. */
  guard: { policy?: (typeof guardPolicies)[number]; fresh?: number };
  /** What a person should know about how these settings came to be; each one sentence. */
  warnings: string[];
}

/** A JSON Schema as far as it is read here. */
export interface JsonSchema {
  description?: string;
  default?: unknown;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  anyOf?: JsonSchema[];
  [keyword: string]: unknown;
}

/** The JSON Schema of safe-update.yml, for editors. Published as schema/safe-update.schema.json. */
export function jsonSchema(): JsonSchema {
  // Draft 7 is what YAML editors understand best.
  const { $schema, ...schema } = z.toJSONSchema(configSchema, {
    io: 'input',
    target: 'draft-7',
  }) as JsonSchema;
  // An environment's own default is whatever the file says for all of them.
  const environment = schema.properties?.['environments']?.additionalProperties;
  if (typeof environment === 'object') {
    withoutDefaults(environment);
    environment['type'] = ['object', 'null'];
  }
  return {
    $schema,
    title: 'safe-update.yml',
    description: 'Configuration of safe-update: updates of docker compose stacks with backup and rollback.',
    ...schema,
  };
}

function withoutDefaults(schema: JsonSchema): void {
  delete schema.default;
  for (const property of Object.values(schema.properties ?? {})) withoutDefaults(property);
}
