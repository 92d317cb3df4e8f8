import { describe, expect, it } from 'vitest';
import { parseManifest } from '../../../src/backup/manifest.ts';
import { manifest } from '../model/examples.ts';

const id = 'pre-update-20241017_143022';
const whole = manifest(id, {
  project: { ...manifest(id).project, environment: 'prod' },
  volumes: [
    {
      ...{
        name: 'shop_db',
        kind: 'named',
        key: 'db',
        driver: 'local',
        exact: true,
        sockets: 0,
        bytes: 4096,
        entries: 3,
      },
      ...{ archive: 'volumes/shop_db.tar.zst', files: 'volumes/shop_db.files.zst', digest: 'abc' },
      servedAt: [{ service: 'db', number: 1, path: '/data', readOnly: false }],
    },
  ],
  parts: [{ path: 'volumes/shop_db.tar.zst', bytes: 10, sha256: 'abc' }],
});

function changed(facts: object): string {
  return JSON.stringify({ ...whole, ...facts });
}

describe('parseManifest', () => {
  it('reads what was written', () => {
    expect(parseManifest(id, JSON.stringify(whole))).toEqual(whole);
  });

  it('does not mind what a later version of this format adds', () => {
    expect(parseManifest(id, changed({ addedLater: true }))).toEqual(whole);
  });

  it.each([
    ['', 'is not JSON'],
    ['{"format":1,', 'is not JSON'],
    ['null', 'is damaged'],
    ['[]', 'is damaged'],
    ['"text"', 'is damaged'],
    ['{}', 'is damaged'],
    [changed({ format: 0 }), 'is damaged: format'],
    [changed({ format: '1' }), 'is damaged: format'],
    [changed({ kind: 'post-update' }), 'is damaged: kind'],
    [changed({ sequence: 1.5 }), 'is damaged: sequence'],
    [changed({ sequence: -1 }), 'is damaged: sequence'],
    [changed({ sequence: Number.MAX_SAFE_INTEGER }), 'is damaged: sequence'],
    [changed({ createdAt: 'yesterday' }), 'is damaged: createdAt'],
    [changed({ consistency: 'warm' }), 'is damaged: consistency'],
    [changed({ parts: [{ path: 'a', bytes: '10', sha256: '' }] }), 'is damaged: parts.0.bytes'],
    [changed({ volumes: [{ ...whole.volumes[0], digest: undefined }] }), 'is damaged: volumes.0.digest'],
    [changed({ volumes: undefined }), 'is damaged: volumes'],
    [changed({ id: 'manual-20241017_143022' }), 'belongs to manual-20241017_143022'],
  ])('%#: says what is wrong', (text, words) => {
    expect(() => parseManifest(id, text)).toThrow(
      expect.objectContaining({
        code: 'damaged',
        message: expect.stringContaining(words) as string,
      }) as Error,
    );
    expect(() => parseManifest(id, text)).toThrow(id);
  });

  it('says when a newer version wrote it', () => {
    expect(() => parseManifest(id, changed({ format: 2, volumes: undefined }))).toThrow(
      expect.objectContaining({
        code: 'damaged',
        message: `${id} was written by a newer safe-update (format 2).`,
        hint: 'Upgrade safe-update on this machine.',
      }) as Error,
    );
  });
});
