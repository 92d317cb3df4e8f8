import type { ContainerInspect } from '../../../src/docker/engine.ts';
import containers from './containers.json' with { type: 'json' };

/**
 * What Engine 28.5 answered for containers that Compose 2.40.3 had made, without fields that are empty.
 *
 * - `web`: two networks with aliases, one with a fixed address; a host name; published ports; a healthcheck; mounts in
 *   both syntaxes, anonymous volumes from the image and from the compose file
 * - `sidecar`: network, processes and shared memory of web
 * - `borrower`: volumes_from store
 * - `mac`: a fixed MAC address, and gw_priority on one of two networks
 * - `onhost`, `alone`: network_mode host and none
 */
export type Name = keyof typeof containers;
export const names = Object.keys(containers) as Name[];

/** A copy that a test may change. */
export function inspect(name: Name): ContainerInspect {
  return structuredClone(containers[name]) as unknown as ContainerInspect;
}

/** The same container with another id, wherever the engine put that in. */
export function withId(container: ContainerInspect, id: string): ContainerInspect {
  const text = JSON.stringify(container);
  const old = container.Id;
  return JSON.parse(
    text.replaceAll(old, id).replaceAll(old.slice(0, 12), id.slice(0, 12)),
  ) as ContainerInspect;
}
