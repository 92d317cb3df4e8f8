/**
 * The compose project a run means, resolved once. Every docker compose command of the run is given all of it
 * explicitly, so that COMPOSE_* variables or a changed folder cannot make two commands mean two projects.
 */
export interface Project {
  /** The project's name, as `docker compose config` resolves it. */
  name: string;
  /** Absolute path; relative paths in the compose files start here. */
  directory: string;
  /** Absolute paths of the compose files, in the order they are merged. */
  files: string[];
  /** Absolute paths of the env files given with --env-file; empty: compose reads `.env` by itself. */
  envFiles: string[];
  profiles: string[];
  /** The environment's name (`prod`), where one was given. */
  environment?: string;
}

/** Compose's own rule; a name that breaks it is refused by compose only after everything else was set up. */
export const projectNamePattern = /^[a-z0-9][a-z0-9_-]*$/;

/** The files that make a project's configuration, as they were found. Paths are absolute. */
export interface Configuration {
  /** Read by compose or by safe-update. */
  files: string[];
  /** Mounted into containers, to be read only. */
  mounted: string[];
  /** Folders that are mounted so: all that is in them is in `mounted`. */
  folders: string[];
  /** What belongs to it and could not be had, in words. */
  missing: string[];
}

/** Names of the variables of which compose says that they are not set, given what it warned about. Pure. */
export function unsetVariables(warnings: readonly string[]): string[] {
  return [
    ...new Set(warnings.flatMap((warning) => /The "(.+)" variable is not set/.exec(warning)?.[1] ?? [])),
  ];
}

/** Where the engine is: given alike to dockerode and to the docker command. */
export interface Endpoint {
  /** As DOCKER_HOST takes it: unix:///var/run/docker.sock, tcp://…, ssh://…, npipe://… */
  host: string;
  /** Folder with ca.pem, cert.pem and key.pem, for tcp with TLS. */
  certPath?: string;
  tlsVerify?: boolean;
}

/** The part of a rendered compose model that is read here; the model holds more. */
export interface ComposeModel {
  name: string;
  services: Record<string, ComposeService>;
  volumes?: Record<string, ComposeVolume | null>;
  networks?: Record<string, unknown>;
  configs?: Record<string, ComposeFileObject>;
  secrets?: Record<string, ComposeFileObject>;
}

export interface ComposeService {
  image?: string;
  build?: unknown;
  entrypoint?: string[] | null;
  command?: string[] | null;
  depends_on?: Record<string, { condition?: string; required?: boolean; restart?: boolean }>;
  volumes?: {
    type: string;
    source?: string;
    target: string;
    read_only?: boolean;
    volume?: { subpath?: string };
  }[];
  volumes_from?: string[];
  network_mode?: string;
  ipc?: string;
  pid?: string;
  environment?: Record<string, string | null>;
  pull_policy?: string;
  restart?: string;
  scale?: number;
  deploy?: { replicas?: number; mode?: string; restart_policy?: { condition?: string } };
  profiles?: string[];
  healthcheck?: {
    disable?: boolean;
    test?: string[];
    /** As Go writes a duration: 1m30s. */
    start_period?: string;
  };
  post_start?: ComposeHook[];
  pre_stop?: ComposeHook[];
  /** Made by a program of its own, not by the engine: it never has a container. */
  provider?: unknown;
  configs?: { source: string; target?: string }[];
  secrets?: { source: string; target?: string }[];
  labels?: Record<string, string>;
  stop_grace_period?: string;
  ports?: unknown[];
  container_name?: string;
}

/** A command that compose runs in a container that it has started or is about to stop. */
export interface ComposeHook {
  command: string[];
  user?: string;
  privileged?: boolean;
  working_dir?: string;
  environment?: Record<string, string | null>;
}

export interface ComposeVolume {
  name?: string;
  external?: boolean;
  driver?: string;
  driver_opts?: Record<string, string>;
  labels?: Record<string, string>;
}

export interface ComposeFileObject {
  file?: string;
  content?: string;
  environment?: string;
}

/** One mount of one container. */
export interface Mount {
  type: 'volume' | 'bind' | 'tmpfs' | 'other';
  /** The volume's name on the engine; for a bind mount the path on the engine's host; empty for tmpfs. */
  source: string;
  /** Where it is inside the container. */
  path: string;
  /** The folder of the volume that is mounted, from the volume's root: `data/redis`; absent: the volume itself. */
  subpath?: string;
  readOnly: boolean;
}

/** A container of the project, as the engine has it. */
export interface Container {
  id: string;
  name: string;
  service: string;
  /** The replica's number, from 1. */
  number: number;
  /** Made by `docker compose run`. */
  oneOff: boolean;
  imageId: string;
  imageName: string;
  configHash: string;
  running: boolean;
  status: string;
  exitCode: number;
  restartCount: number;
  /** Restart policy: no, on-failure, always, unless-stopped. */
  restart: string;
  /** The engine's health status; `none` without a healthcheck. */
  health: 'none' | 'starting' | 'healthy' | 'unhealthy';
  /** What its healthcheck printed last, in one line; absent if nothing. */
  healthOutput?: string;
  startedAt: string;
  /** Milliseconds that its healthcheck gives it to start; absent: none. */
  startPeriod?: number;
  /** Why the engine could not start it; absent: it could. */
  startError?: string;
  /** The kernel ended something in it for want of memory. */
  outOfMemory?: true;
  /** One of its last healthchecks was good. */
  wasHealthy?: true;
  /** How it ended, where the engine still remembers; absent: it runs, or nobody knows. */
  endedBy?: 'itself' | 'somebody';
  /** With what it ended before the engine started it again; absent: it was not, or nobody knows. */
  restartedAfter?: number;
  /** It is a one-shot that does not run: see `standing`. */
  isDone?: true;
  /** It may end with 0 and be well: see `standing`. Absent: where it ran, it has to run. */
  mayEnd?: true;
  mounts: Mount[];
  labels: Record<string, string>;
  /** NAME=value, as the running container has them. Secret. */
  environment: string[];
  /** Entrypoint and command joined. */
  command: string[];
  publishesPorts: boolean;
}

/** The kinds of database that can be dumped; src/database has a file for each. */
export const engineNames = ['mariadb', 'mongodb', 'mysql', 'postgres', 'redis', 'valkey'] as const;
export type EngineName = (typeof engineNames)[number];

export type VolumeKind = 'named' | 'external' | 'anonymous' | 'bind';

/** A volume of the project: what is backed up, and put back. */
export interface Volume {
  kind: VolumeKind;
  /** The name on the engine; for a bind mount the path on the engine's host. Unique within a project. */
  name: string;
  /** The key in the compose files (`db_data`); absent for anonymous volumes and bind mounts. */
  key?: string;
  driver: string;
  options: Record<string, string>;
  labels: Record<string, string>;
  /** Which container paths it serves. */
  servedAt: ServedPath[];
  /** False: declared or labelled, but the engine has none of that name yet, or no such folder. */
  exists: boolean;
  /** What the person says it holds; `critical` unless they say otherwise. */
  class: VolumeClass;
  /** Nobody has said so: it is critical because nothing is left out by guessing. */
  assumed?: true;
  /** Why it is in no backup and in no rollback; absent: it is. */
  leftOut?: string;
  /**
   * A container of the project has CAP_SYS_ADMIN and this volume: it may hold attributes that nobody else sees or sets
   * (`trusted.*`).
   */
  privileged?: true;
  /** When other backup programs are told to back it up, by its label or its services'. Only shown. */
  schedule?: string;
}

/**
 * `critical`: always archived · `recreatable`: archived unless there is no room for it · `cache`: not archived unless
 * that is asked for.
 */
export type VolumeClass = 'critical' | 'recreatable' | 'cache';

/** A place where a container sees a volume. */
export interface ServedPath {
  service: string;
  number: number;
  path: string;
  /** The folder of the volume that is mounted there, from the volume's root; absent: the volume itself. */
  subpath?: string;
  readOnly: boolean;
}

/** A mount that no backup covers, and why; shown in every plan. */
export interface Uncovered {
  source: string;
  services: string[];
  path: string;
  reason: string;
}
