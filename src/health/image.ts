import { containersOf, type ExpectedService, type Probe, type Sample } from './probe.ts';

/** Every container of a service runs the image that was meant: told by id, which no moved tag can change. */
export function imageProbe(expected: ExpectedService & { imageId: string }): Probe {
  const { service, imageId } = expected;
  return {
    name: `${service} image`,
    look({ containers }: Sample) {
      const wrong = containersOf(expected, containers).find((container) => container.imageId !== imageId);
      if (wrong === undefined) return { is: 'green' };
      return {
        is: 'failed',
        reason: `${wrong.name} runs image ${short(wrong.imageId)} instead of ${short(imageId)}`,
      };
    },
  };
}

function short(imageId: string): string {
  return imageId.replace(/^sha256:/, '').slice(0, 12);
}
