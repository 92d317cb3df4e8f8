import type { Container } from '../../../src/model/project.ts';

/** A running container with what a test says of it. */
export function container(about: Partial<Container> = {}): Container {
  return {
    id: 'c0ffee',
    name: 'shop-db-1',
    service: 'db',
    number: 1,
    oneOff: false,
    imageId: 'sha256:0',
    imageName: 'shop-db',
    configHash: '',
    running: true,
    status: 'running',
    exitCode: 0,
    restartCount: 0,
    restart: 'no',
    health: 'none',
    startedAt: '',
    mounts: [],
    labels: {},
    environment: [],
    command: [],
    publishesPorts: false,
    ...about,
  };
}
