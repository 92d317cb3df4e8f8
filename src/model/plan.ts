import type { Volume, Uncovered } from './project.ts';

/** Every step a run can have, in the order an update has them. */
export const stepNames = [
  'observe',
  'lock',
  'pin',
  'pull',
  'build',
  'measure',
  'dump',
  'stop',
  'archive',
  'seal',
  'remove',
  'up',
  'start',
  'verify',
  'commit',
  'prune',
] as const;

export type StepName = (typeof stepNames)[number];

/** One step of a plan: what is done to what, and what caused it to be there. */
export interface Step {
  name: StepName;
  /** Services or volumes the step works on; empty: the whole project. */
  on: string[];
  /** Why the step is in the plan, for people. */
  cause: string;
  /** After this step begins, the stack is not as it was until the run ends or is undone. */
  touches: boolean;
}

/** What an update does to one service. */
export type ServiceFate =
  /** Image or configuration changes: the containers are replaced. */
  | 'replace'
  /** Nothing of it changes: its containers are stopped for the cold archive and started again. */
  | 'restart'
  /** It has no container yet. */
  | 'create'
  /** A one-shot that has done its work: it runs again with the release. */
  | 'run-again'
  /** A provider makes it, not the engine: `up` runs the provider, and nothing else is done about it. */
  | 'provided'
  /** Stopped on purpose before: it stays as it is. */
  | 'leave-stopped'
  /** Not in the compose files any more: its containers are stopped for the archive and started again. */
  | 'orphan';

export interface ServicePlan {
  service: string;
  fate: ServiceFate;
  /** What changes, for people: "image shop/app:1.1 a1b2c3 → d4e5f6", "configuration". */
  cause: string;
  /** Containers it has now. */
  replicas: number;
}

/** What will be done, in order. A pure function of what was observed; printing it is `--dry-run`. */
export interface Plan {
  project: string;
  environment?: string;
  consistency: 'cold' | 'hot';
  /** True: nothing would change; there are no steps. */
  nothingToDo: boolean;
  services: ServicePlan[];
  /** Services whose image is still to be pulled or built: what happens to them may change yet. */
  unasked: string[];
  volumes: (Volume & { bytes?: number })[];
  /** `running`: it is dumped as well. Of one that does not run, the files are archived. */
  databases: { service: string; engine: string; running: boolean }[];
  notCovered: Uncovered[];
  warnings: string[];
  /** What a person may want to decide; nothing depends on it. */
  suggestions: string[];
  steps: Step[];
}
