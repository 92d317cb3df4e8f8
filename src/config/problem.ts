import type { z } from 'zod';
import { SafeUpdateError } from '../model/error.ts';
import { jsonSchema, type JsonSchema } from './schema.ts';
import { nearest } from './nearest.ts';

/** A configuration that cannot be used. It is read before anything else is done. */
export function configError(message: string, hint: string, cause?: unknown): SafeUpdateError {
  return new SafeUpdateError('config', message, { state: 'Nothing was touched.', hint, cause });
}

/** One thing that is wrong with a configuration. */
interface Problem {
  /** Keys and list positions that lead to it. */
  path: (string | number)[];
  /** True: the key itself is wrong, not what stands behind it. */
  atKey: boolean;
  /** What was expected, as the rest of a sentence: "unknown key", "expected a list, found text". */
  text: string;
  /** What was probably meant. */
  suggestion?: string | undefined;
}

/** What zod found, in the words of this program. Never contains a value that was read. */
export function problemsOf(error: z.ZodError): Problem[] {
  return problemsIn(error.issues, []);
}

function problemsIn(issues: readonly z.core.$ZodIssue[], within: Problem['path']): Problem[] {
  return issues.flatMap((issue): Problem[] => {
    const path = [...within, ...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))];
    if (issue.code === 'invalid_union') {
      // What was written is of one of the kinds that are allowed: what is wrong with it says more.
      const meant = issue.errors.find((branch) =>
        branch.every(({ code, path: at }) => code !== 'invalid_type' || at.length > 0),
      );
      if (meant !== undefined) return problemsIn(meant, path);
    }
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        path: [...path, key],
        atKey: true,
        text: 'unknown key',
        suggestion: knownKey(key, path),
      }));
    }
    if (issue.code === 'invalid_key') {
      return [{ path, atKey: true, text: issue.issues[0]?.message ?? 'expected another key' }];
    }
    if (issue.code === 'invalid_type') {
      const expected = kindNames[issue.expected] ?? issue.expected;
      return [{ path, atKey: false, text: `expected ${expected}, found ${kindOf(issue.input)}` }];
    }
    if (issue.code === 'invalid_value') {
      const values = issue.values.map(String);
      const meant = typeof issue.input === 'string' ? nearest(issue.input, values) : undefined;
      return [{ path, atKey: false, text: `expected ${either(values)}`, suggestion: meant }];
    }
    // The schema gives the message for everything else.
    return [{ path, atKey: false, text: issue.message }];
  });
}

/** `environments.prod.files[0]` */
export function pathText(path: readonly (string | number)[]): string {
  return path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`))
    .join('');
}

/** "cold or hot", "always, missing or never" */
function either(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1) ?? ''}`;
}

const kindNames: Record<string, string> = {
  object: 'keys with values',
  record: 'keys with values',
  array: 'a list',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
};

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'keys with values';
  if (typeof value === 'boolean') return 'true or false';
  if (typeof value === 'number') return Number.isInteger(value) ? 'a whole number' : 'a number';
  return 'text';
}

/** The key that was meant: a near one at the same place, or the same one at another. */
function knownKey(key: string, path: readonly (string | number)[]): string | undefined {
  const schema = jsonSchema();
  let here: JsonSchema | undefined = schema;
  for (const part of path) {
    const entries: JsonSchema | boolean | undefined = here?.additionalProperties;
    const next: JsonSchema | undefined =
      here?.properties?.[part] ?? (typeof entries === 'object' ? entries : undefined);
    here = next?.anyOf?.find(({ properties }) => properties !== undefined) ?? next;
  }
  const near = nearest(key, Object.keys(here?.properties ?? {}));
  if (near !== undefined) return near;
  return Object.entries(schema.properties ?? {})
    .flatMap(([name, { properties }]) => [
      name,
      ...Object.keys(properties ?? {}).map((inner) => `${name}.${inner}`),
    ])
    .find((known) => known.split('.').at(-1) === key);
}
