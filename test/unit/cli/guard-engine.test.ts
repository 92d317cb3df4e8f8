import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { authorize } from '../../../src/cli/guard/authorize.ts';
import { EngineFacts, hasNoAnonymousVolume, isProofVolume } from '../../../src/cli/guard/engine-facts.ts';
import { unitFile } from '../../../src/cli/guard/install/engine.ts';

/** An engine that does not answer. */
const silent = {
  engine: new EngineFacts('/nonexistent/docker.sock'),
  rules: async () => ({
    rules: { policy: 'off' as const, projects: { shop: 'block' as const }, volumes: {} },
  }),
  approvals: '/nonexistent',
};

describe('the answer to dockerd', () => {
  it('is a refusal where the engine does not say whose a volume is, if anything is guarded', async () => {
    const ask = (method: string, address: string) =>
      authorize(JSON.stringify({ RequestMethod: method, RequestUri: address }), silent);
    expect((await ask('DELETE', '/volumes/scratch')).answer.Allow).toBe(false);
    expect((await ask('DELETE', '/containers/web?v=1')).answer.Allow).toBe(false);
    expect((await ask('POST', '/volumes/prune')).answer.Allow).toBe(false);
    expect((await ask('GET', '/volumes')).answer.Allow).toBe(true);
  });

  it('is a refusal where the rules cannot be read', async () => {
    const broken = { ...silent, rules: () => Promise.reject(new Error('disk')) };
    const text = JSON.stringify({ RequestMethod: 'DELETE', RequestUri: '/volumes/data' });
    const { answer, log } = await authorize(text, broken);
    expect(answer.Allow).toBe(false);
    expect(log).toContain('disk');
  });

  it('is there for any text, and a refusal is one short line', async () => {
    const address = fc.string({ unit: 'binary', maxLength: 3000 }).map((name) => `/volumes/${name}`);
    const texts = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.json(),
      address.map((one) => JSON.stringify({ RequestMethod: 'DELETE', RequestUri: one })),
      fc
        .string({ maxLength: 3000 })
        .map((one) =>
          JSON.stringify({ RequestMethod: 'DELETE', RequestUri: `/volumes/${encodeURIComponent(one)}` }),
        ),
    );
    await fc.assert(
      fc.asyncProperty(texts, fc.boolean(), async (text, cut) => {
        const { answer, log } = await authorize(text, silent, { cut });
        if (answer.Allow) return;
        expect(answer.Msg).toMatch(/^refused by safe-update guard/);
        // eslint-disable-next-line no-control-regex
        expect(answer.Msg).not.toMatch(/[\0-\x1f\x7f\u2028\u202e]/);
        expect(log).not.toBe('');
      }),
      { numRuns: 500 },
    );
  });
});

const mounted = (Name: string, Destination: string) => ({ Type: 'volume', Name, Destination });
const container = (
  Mounts: { Type: string; Name?: string; Destination: string }[],
  HostConfig: Parameters<typeof hasNoAnonymousVolume>[0]['HostConfig'] = { Binds: null },
) => ({ Name: '/web', Config: { Labels: null }, HostConfig, Mounts });

describe('a container has no anonymous volume', () => {
  it.each([
    ['if it has none at all', container([])],
    ['if all it mounts are folders', container([{ Type: 'bind', Destination: '/a' }])],
    ['if it was given each by name', container([mounted('data', '/a')], { Binds: ['data:/a:rw'] })],
    [
      'if it was given each by name, the long way',
      container([mounted('data', '/a')], {
        Binds: null,
        Mounts: [{ Type: 'volume', Source: 'data', Target: '/a' }],
      }),
    ],
  ])('%s', (_, one) => {
    expect(hasNoAnonymousVolume(one)).toBe(true);
  });

  it.each([
    ['its image declares a path', container([mounted('0123', '/a')])],
    [
      'one of two is nameless',
      container([mounted('data', '/a'), mounted('0123', '/b')], { Binds: ['data:/a'] }),
    ],
    [
      'the long way names none',
      container([mounted('0123', '/a')], { Binds: null, Mounts: [{ Type: 'volume', Target: '/a' }] }),
    ],
    ['it came from another container', container([mounted('data', '/a')], { Binds: ['data:/b'] })],
    ['nobody knows what it is', container([{ Type: 'new', Destination: '/a' }])],
  ])('but not if %s', (_, one) => {
    expect(hasNoAnonymousVolume(one)).toBe(false);
  });
});

describe('a volume of a test-restore', () => {
  const proof = 'safe-update-proof-0123456789ab';
  const own = {
    Name: `${proof}_0`,
    Driver: 'local',
    Labels: { 'safe-update.proof': proof },
    Options: null,
  };

  it('is known by its name, its label, its driver and its options', () => {
    expect(isProofVolume(own.Name, own)).toBe(true);
  });

  it.each([
    ['without the label', own.Name, { ...own, Labels: null }],
    ['with that of another one', own.Name, { ...own, Labels: { 'safe-update.proof': `${proof}_0` } }],
    ['of another driver', own.Name, { ...own, Driver: 'nfs' }],
    ['that is a folder of the host', own.Name, { ...own, Options: { device: '/srv' } }],
    ['that is called otherwise', `${proof}_1`, own],
    ['that is called so in part', `x${own.Name}`, { ...own, Name: `x${own.Name}` }],
  ])('is none %s', (_, name, volume) => {
    expect(isProofVolume(name, volume)).toBe(false);
  });
});

describe('the unit', () => {
  it('starts before dockerd, which waits until the plugin answers, and always again', () => {
    const text = unitFile(['/opt/my node/node', '/opt/100%/$x/bin.js', 'guard', 'serve'], '/run/x.sock');
    expect(text).toContain('ExecStart="/opt/my node/node" /opt/100%%/$$x/bin.js guard serve\n');
    expect(text).toContain('Before=docker.service\n');
    expect(text).toContain('Restart=always\n');
    expect(text).toMatch(/ExecStartPost=.*\/run\/x\.sock/);
  });
});
