import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { defaults, jsonSchema, optionsSchema, type JsonSchema } from '../../../src/config/schema.ts';
import { parseConfig } from '../../../src/config/parse.ts';

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

/** Every option of the top level: `backups.keep` and its schema. */
function options(schema: JsonSchema, prefix = ''): [path: string, schema: JsonSchema][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]): [string, JsonSchema][] => {
    const path = `${prefix}${name}`;
    const entries =
      typeof property.additionalProperties === 'object' ? property.additionalProperties : undefined;
    if (name === 'environments') return [[path, property]];
    return [
      [path, property],
      ...options(property, `${path}.`),
      ...(property.anyOf ?? []).flatMap((one) => options(one, `${path}.`)),
      ...(entries === undefined ? [] : options(entries, `${path}.NAME.`)),
    ];
  });
}

describe('schema/safe-update.schema.json', () => {
  it('is what the schema says now; if not, run: node scripts/generate-schema.ts', () => {
    expect(JSON.parse(read('schema/safe-update.schema.json'))).toEqual(jsonSchema());
  });

  it('describes every option', () => {
    for (const [path, { description }] of options(jsonSchema())) expect(description, path).toMatch(/\.$/);
  });

  it('says what it means that a database is not dumped', () => {
    const [, engine] = options(jsonSchema()).find(([path]) => path === 'databases.NAME.engine') ?? [];
    expect(engine?.description).toMatch(
      /`none`: it is not dumped\..*archive of a cold backup.*hot .*is refused/,
    );
  });

  it('refuses unknown keys everywhere', () => {
    const open = JSON.stringify(jsonSchema()).match(/"type":"object"/g)?.length;
    const closed = JSON.stringify(jsonSchema()).match(/"additionalProperties":/g)?.length;
    // An environment has the types object and null.
    expect(closed).toBe((open ?? 0) + 1);
  });

  it('gives defaults that are valid', () => {
    expect(optionsSchema.safeParse(defaults).success).toBe(true);
  });
});

describe('docs/configuration.md', () => {
  const page = read('docs/configuration.md');

  it.each(options(jsonSchema()).filter(([, { properties }]) => properties === undefined))(
    'explains %s with its default',
    (path, schema) => {
      const [entry] = page.split(/\n(?=- |\n)/).filter((block) => block.startsWith(`- \`${path}\`: `));
      expect(entry, `no entry for ${path}`).toBeDefined();
      if (schema.default !== undefined)
        expect(entry).toContain(`Default \`${String(schema.default as string | number)}\``);
    },
  );

  it('has an example that is accepted and shows every option', () => {
    const example = page.split('```yaml\n').at(-1)?.split('```')[0] ?? '';
    const parsed = parseConfig(example, 'docs/configuration.md');
    for (const [path] of options(jsonSchema())) {
      expect(JSON.stringify(parsed), path).toContain(`"${path.split('.').at(-1) ?? ''}"`);
    }
  });
});
