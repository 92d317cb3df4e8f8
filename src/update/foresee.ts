import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { listBackups } from '../backup/open.ts';
import type { Observed } from '../docker/observe.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Plan } from '../model/plan.ts';
import { publishedPorts, type HostPort } from '../model/ports.ts';
import { archived } from './classes.ts';
import type { Context } from './context.ts';
import { portRefusals, type Refusal } from './refuse.ts';
import { leftOutForSpace, requireSpace, type SpaceQuestion } from './space.ts';
import { databaseVolumes } from './steps.ts';

/**
 * Reasons not to update because of ports: those of services that the plan starts, which neither the same service has now
 * nor are free. What is no container can be seen only where the engine is on this machine.
 */
export async function takenPorts(observed: Observed, { services }: Plan): Promise<Refusal[]> {
  const started = services
    .filter(({ fate }) => fate !== 'leave-stopped' && fate !== 'orphan')
    .map(({ service }) => service);
  const wanted = started.flatMap((service) =>
    publishedPorts(observed.model.services[service]?.ports ?? []).flat(),
  );
  const key = ({ ip, port, protocol }: HostPort): string => `${ip} ${port} ${protocol}`;
  const busy = new Set<string>();
  if (observed.engine.host === hostname()) {
    // A long range is rather a choice than a need; asking for each of it would take longer than it is worth.
    for (const port of wanted.slice(0, 200)) if (!(await isFree(port))) busy.add(key(port));
  }
  return portRefusals(observed, started, (port) => !busy.has(key(port)));
}

/** Whether this machine would let somebody serve the port. What this user may not try counts as free. */
async function isFree({ ip, port, protocol }: HostPort): Promise<boolean> {
  const address = ip === '' ? '0.0.0.0' : ip;
  const error = await new Promise<unknown>((resolve) => {
    if (protocol === 'udp') {
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      socket.once('error', (failed) => {
        socket.close();
        resolve(failed);
      });
      socket.bind({ port, address, exclusive: true }, () => socket.close(() => resolve(undefined)));
      return;
    }
    const server = createServer();
    server.once('error', resolve);
    server.listen({ port, host: address, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
  return (error as { code?: unknown } | undefined)?.code !== 'EADDRINUSE';
}

/**
 * What the step `measure` would say of the space, given the sizes that are known by now; undefined where there is enough.
 * What is not known (folders, volumes of other drivers) is not counted.
 */
export async function tooLittleSpace(
  context: Context,
  observed: Observed,
  sizes: ReadonlyMap<string, number>,
): Promise<string | undefined> {
  const { settings, accept } = context;
  const volumes = archived(observed.volumes);
  const known = new Map(
    volumes.flatMap(({ name }) => {
      const bytes = sizes.get(name);
      return bytes === undefined ? [] : [[name, bytes] as const];
    }),
  );
  const store = context.storeFor(observed.project.name);
  const question: SpaceQuestion = {
    sizes: known,
    space: await store.space(),
    backups: await listBackups(store),
    where: settings.backups.directory,
    minimumFree: settings.space.minimumFree,
    dumped: databaseVolumes(observed),
  };
  const recreatable = volumes.filter((volume) => volume.class === 'recreatable').map(({ name }) => name);
  for (const name of leftOutForSpace(question, recreatable)) known.delete(name);
  try {
    requireSpace(question, accept);
    return undefined;
  } catch (error) {
    if (error instanceof SafeUpdateError && error.code === 'space') return messageOf(error);
    throw error;
  }
}
