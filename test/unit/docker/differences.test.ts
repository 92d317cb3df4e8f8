import { describe, expect, it } from 'vitest';
import { differences } from '../../../src/docker/differences.ts';
import type { ContainerInspect, NetworkInspect } from '../../../src/docker/engine.ts';
import { exitedLabel } from '../../../src/docker/record.ts';
import { hex } from '../model/examples.ts';
import { inspect, names, withId } from './inspects.ts';

const network = (facts: object = {}): NetworkInspect =>
  ({
    Name: 'shop_six',
    Id: hex('six'),
    Created: '2026-01-01',
    Driver: 'bridge',
    EnableIPv4: false,
    EnableIPv6: true,
    IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: 'fd14::/64' }] },
    Options: {},
    Containers: { a: {} },
    ...facts,
  }) as unknown as NetworkInspect;

/** What is said of a container that is made again, after `change`. */
function said(change: (after: ContainerInspect) => void, before = inspect('web')): string[] {
  const after = withId(before, hex('again'));
  change(after);
  return differences(
    { containers: [before], networks: [] },
    { containers: [after], networks: [] },
    new Map([[before.Id, after.Id]]),
  );
}

type Settings = Record<string, Record<string, unknown>>;

function endpoint(container: ContainerInspect, name: string): Record<string, unknown> {
  return (container.NetworkSettings.Networks as unknown as Settings)[name] ?? {};
}

describe('differences', () => {
  it.each(names)('finds none in %s made again, with what always differs', (name) => {
    const change = (after: ContainerInspect): void => {
      after.Created = '2030-01-01T00:00:00Z';
      after.State.StartedAt = '2030-01-01T00:00:00Z';
      after.RestartCount = 3;
      Object.assign(after.Config, { MacAddress: '22:af:60:91:97:1e' });
      after.Config.Labels = { ...after.Config.Labels, [exitedLabel]: '0' };
      for (const each of Object.values(after.NetworkSettings.Networks as unknown as Settings))
        Object.assign(each, {
          EndpointID: hex('e'),
          NetworkID: hex('n'),
          IPAddress: '10.0.0.99',
          DNSNames: [],
        });
    };
    expect(said(change, inspect(name))).toEqual([]);
  });

  it('lets the engine choose another MAC address for the very container', () => {
    const before = inspect('web');
    const after = structuredClone(before);
    Object.assign(endpoint(after, 'shop_back'), { MacAddress: '02:42:00:00:00:01' });
    const found = differences(
      { containers: [before], networks: [] },
      { containers: [after], networks: [] },
      new Map([[before.Id, before.Id]]),
    );
    expect(found).toEqual([]);
  });

  it.each<[string, (after: ContainerInspect) => void, string]>([
    [
      'a MAC address',
      (after) => Object.assign(endpoint(after, 'shop_back'), { MacAddress: '02:42:00:00:00:01' }),
      'shop-web-1: Networks.shop_back.MacAddress was 22:af:60:91:97:1e, is 02:42:00:00:00:01',
    ],
    [
      'an alias',
      (after) => Object.assign(endpoint(after, 'shop_back'), { Aliases: ['web'] }),
      'shop-web-1: Networks.shop_back.Aliases was ["shop-web-1","store","web"], is ["web"]',
    ],
    [
      'a fixed address',
      (after) => Object.assign(endpoint(after, 'shop_front'), { IPAMConfig: null }),
      'shop-web-1: Networks.shop_front.IPAMConfig.IPv4Address was 10.231.7.20, is nothing',
    ],
    [
      'a variable, whose value is not shown',
      (after) => (after.Config.Env = ['SECRET=other']),
      'shop-web-1: Config.Env differs',
    ],
    [
      'a limit',
      (after) => (after.HostConfig.ShmSize = 1),
      'shop-web-1: HostConfig.ShmSize was 67108864, is 1',
    ],
    ['an image', (after) => (after.Image = 'sha256:other'), 'shop-web-1: Image was sha256:'],
  ])('finds %s', (_, change, expected) => {
    const found = said(change);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
  });

  it('finds a mount that leads elsewhere, a network that is left out, and a container that is not there', () => {
    const elsewhere = said((after) => {
      for (const mount of after.Mounts) if (mount.Destination === '/data') mount.Name = hex('other');
    });
    expect(elsewhere.join()).toContain('Mounts./data.Name');
    const alone = said((after) => Reflect.deleteProperty(after.NetworkSettings.Networks, 'shop_front'));
    expect(alone.join()).toContain('Networks.shop_front.Aliases');
    const none = differences(
      { containers: [inspect('web')], networks: [] },
      { containers: [], networks: [] },
      new Map(),
    );
    expect(none).toEqual(['shop-web-1 is not there']);
  });

  it('takes anonymous volumes for the same that are given back by name, and a mounted image wherever it lies', () => {
    const before = inspect('web');
    const image = (layer: string) =>
      ({ Type: 'image', Name: 'files:1', Source: layer, Destination: '/files', RW: false }) as never;
    before.Mounts.push(image('/one'));
    const found = said((after) => {
      after.Mounts = [...after.Mounts.slice(0, -1), image('/two')];
      const mounts = (after.HostConfig.Mounts ?? []) as unknown as { Target: string }[];
      for (const Target of ['/data', '/srv/anonymous'])
        if (!mounts.some((mount) => mount.Target === Target)) mounts.push({ Target });
    }, before);
    expect(found).toEqual([]);
  });

  it('compares networks without what is connected to them', () => {
    const of = (after: NetworkInspect): string[] =>
      differences(
        { containers: [], networks: [network()] },
        { containers: [], networks: [after] },
        new Map(),
      );
    expect(of(network({ Id: hex('new'), Created: 'now', Containers: {} }))).toEqual([]);
    expect(of(network({ EnableIPv4: true }))).toEqual([
      'the network shop_six: EnableIPv4 was nothing, is true',
    ]);
    expect(of(network({ Name: 'other' }))).toEqual(['the network shop_six is not there']);
  });
});
