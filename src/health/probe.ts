import type { Container } from '../model/project.ts';

/** The project's containers at one moment. */
export interface Sample {
  /** Milliseconds on a clock that never jumps. */
  at: number;
  containers: readonly Container[];
}

export type ProbeState =
  | { is: 'green' }
  /** Not yet; it may still become green. `starting`: by itself, as it has not had the time that a start takes. */
  | { is: 'waiting'; reason: string; starting?: boolean }
  /** It will not become green; waiting longer would only be downtime. */
  | { is: 'failed'; reason: string };

/**
 * One thing that must hold for the stack to be healthy. A probe is asked about twice a second until the verification
 * ends and may keep what it saw before. To add a kind, write a file beside container.ts and make it where
 * `probesFor` does.
 */
export interface Probe {
  /** What it looks at, for people: "web", "web image", "uploads at /app/uploads". */
  readonly name: string;
  look(sample: Sample): ProbeState | Promise<ProbeState>;
}

/** The containers that an expectation is about. Pure. */
export function containersOf(
  { service, numbers }: Pick<ExpectedService, 'service' | 'numbers'>,
  containers: readonly Container[],
): Container[] {
  return containers.filter(
    (container) =>
      container.service === service && !container.oneOff && (numbers?.includes(container.number) ?? true),
  );
}

/** What a service must come to. */
export interface ExpectedService {
  service: string;
  replicas: number;
  /** Only these replicas are looked at; absent: every one. */
  numbers?: number[];
  /** It does its work and exits with 0. */
  oneShot: boolean;
  /** It may also have exited with 0, once, or again and again where the engine starts it again. */
  mayEnd?: boolean;
  /** The image its containers must run; absent: whichever. */
  imageId?: string;
  /** The volumes that must be at its paths: promise 3. */
  served: { number: number; path: string; volume: string; subpath?: string }[];
}
