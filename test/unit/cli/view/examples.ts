import type { Outcome } from '../../../../src/model/event.ts';
import type { Plan } from '../../../../src/model/plan.ts';
import type { Volume } from '../../../../src/model/project.ts';

function volume(
  name: string,
  kind: Volume['kind'],
  bytes: number,
  ...places: [string, string][]
): Plan['volumes'][number] {
  return {
    name,
    kind,
    bytes,
    driver: 'local',
    options: {},
    labels: {},
    exists: true,
    class: 'critical' as const,
    servedAt: places.map(([service, path]) => ({ service, path, number: 1, readOnly: false })),
  };
}

export const plan: Plan = {
  project: 'shop',
  environment: 'prod',
  consistency: 'cold',
  nothingToDo: false,
  unasked: [],
  services: [
    { service: 'app', fate: 'replace', cause: 'image shop/app:1.1 a1b2c3 → d4e5f6', replicas: 2 },
    { service: 'worker', fate: 'replace', cause: 'image shop/app:1.1 a1b2c3 → d4e5f6', replicas: 1 },
    { service: 'web', fate: 'replace', cause: 'configuration', replicas: 1 },
    { service: 'db', fate: 'restart', cause: 'nothing changes', replicas: 1 },
    { service: 'redis', fate: 'restart', cause: 'nothing changes', replicas: 1 },
    { service: 'mailhog', fate: 'leave-stopped', cause: 'was stopped on purpose', replicas: 1 },
  ],
  volumes: [
    volume('shop_db_data', 'named', 3.4e9, ['db', '/var/lib/postgresql/data']),
    volume('shop_uploads', 'external', 1.24e9, ['app', '/srv/uploads'], ['worker', '/srv/uploads']),
    volume('f1d2d2f924e986ac86fdf7b36c94bcdf32beec15a3b8a5f1e4f2c1a2b3c4d5e6', 'anonymous', 8.1e6, [
      'redis',
      '/data',
    ]),
  ],
  databases: [{ service: 'db', engine: 'postgres', running: true }],
  notCovered: [
    {
      source: '/srv/shop/import',
      services: ['worker'],
      path: '/import',
      reason: 'a bind mount that no configuration names',
    },
  ],
  warnings: ['The volume shop_uploads is external: other projects may write to it while shop is stopped.'],
  suggestions: [],
  steps: [
    { name: 'dump', on: ['db'], cause: 'postgres, while it runs', touches: false },
    { name: 'pull', on: ['app', 'worker'], cause: 'a new image is named', touches: false },
    { name: 'stop', on: [], cause: 'a cold archive is exact', touches: true },
    {
      name: 'archive',
      on: ['shop_db_data', 'shop_uploads', 'f1d2d2f924e9'],
      cause: 'every volume',
      touches: false,
    },
    { name: 'seal', on: [], cause: 'nothing is replaced before the backup is proven', touches: false },
    { name: 'remove', on: ['app', 'worker', 'web'], cause: 'to be replaced', touches: true },
    { name: 'up', on: [], cause: 'the new release', touches: true },
    { name: 'verify', on: [], cause: 'health, data and databases', touches: false },
    { name: 'commit', on: [], cause: 'record the release', touches: false },
  ],
};

export const updated: Outcome = {
  result: 'updated',
  run: '20241017_143022',
  project: 'shop',
  backup: 'pre-update-20241017_143022',
  downtime: { db: 13_100, web: 14_300, app: 14_200, static: 0 },
  milliseconds: 102_000,
  rollbackCommand: 'safe-update rollback prod --to pre-update-20241017_143022',
};

export const rolledBack: Outcome = {
  result: 'rolled-back',
  run: '20241017_143022',
  project: 'shop',
  backup: 'pre-update-20241017_143022',
  failedBackup: 'failed-20241017_143107',
  milliseconds: 102_000,
  error: {
    code: 'rolled-back',
    message: 'app did not become healthy within 60 s.',
    hint: 'Look at what app wrote: safe-update show failed-20241017_143107 --logs app',
  },
};
