import { readdirSync } from 'node:fs';
import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Which folders of src a folder may import from, besides itself. Anything else is an error. */
const layers = {
  model: [],
  config: ['model'],
  health: ['model'],
  docker: ['model'],
  guard: ['model'],
  database: ['docker', 'model'],
  backup: ['database', 'docker', 'model'],
  update: ['backup', 'database', 'health', 'docker', 'config', 'model'],
  cli: ['update', 'guard', 'backup', 'database', 'health', 'docker', 'config', 'model'],
};

/** Packages that only some files may import. `types`: everybody may import types from them. */
const reserved = [
  { name: 'execa', for: ['docker/exec.ts'] },
  { name: 'node:child_process', for: [] },
  { name: 'dockerode', for: ['docker/endpoint.ts', 'docker/engine.ts'], types: true },
  { name: 'listr2', for: ['cli/view'] },
  { name: 'chalk', for: ['cli/view'] },
  { name: 'commander', for: ['cli'] },
  { name: 'node:process', for: [] },
];

/** Rules for the files below src/PLACE, which belongs to a layer. Dynamic imports obey them too. */
function importsOf(place) {
  const layer = place.split('/')[0];
  const folders = Object.keys(layers).filter((name) => name !== layer && !layers[layer].includes(name));
  const packages = reserved.filter(
    (entry) => !entry.for.some((user) => place === user || place.startsWith(`${user}/`)),
  );
  const folder = `^(\\.\\./)+(${folders.join('|')})/`;
  const name = `^(${packages.map((entry) => entry.name).join('|')})$`;
  return {
    files: [place.endsWith('.ts') ? `src/${place}` : `src/${place}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          paths: packages.map((entry) => ({
            name: entry.name,
            allowTypeImports: entry.types === true,
            message:
              entry.for.length > 0 ? `Only src/${entry.for.join(', src/')} may.` : 'Nothing below src may.',
          })),
          patterns:
            folders.length === 0
              ? []
              : [
                  {
                    regex: folder,
                    message: `src/${layer} may import from: ${[layer, ...layers[layer]].join(', ')}.`,
                  },
                ],
        },
      ],
      'no-restricted-syntax': [
        'error',
        ...[name, ...(folders.length === 0 ? [] : [folder])].map((regex) => ({
          selector: `ImportExpression[source.value=/${regex.replaceAll('/', '\\/')}/]`,
          message: `src/${place} may not import this; see eslint.config.js.`,
        })),
      ],
    },
  };
}

const places = [
  ...Object.keys(layers),
  // After the layers they lie in: the last rule that matches a file counts.
  ...new Set(reserved.flatMap((entry) => entry.for).filter((place) => !(place in layers))),
];

for (const entry of readdirSync(new URL('src/', import.meta.url), { withFileTypes: true })) {
  if (entry.isDirectory() && !(entry.name in layers))
    throw new Error(`eslint.config.js: which layer is src/${entry.name}?`);
}

export default defineConfig(
  globalIgnores(['dist/', 'coverage/']),
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // A forgotten await is a step that did not happen; a forgotten case is a state nobody thought of.
      '@typescript-eslint/no-floating-promises': ['error', { checkThenables: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/dot-notation': ['error', { allowIndexSignaturePropertyAccess: true }],
      // An empty string or 0 columns is as good as none.
      '@typescript-eslint/prefer-nullish-coalescing': [
        'error',
        { ignorePrimitives: { string: true, number: true } },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/cli/**', 'src/bin.ts', 'src/start-guard.ts'],
    rules: {
      'no-restricted-globals': [
        'error',
        {
          globals: [
            { name: 'process', message: 'Only src/cli reads it; take what you need as an argument.' },
          ],
          checkGlobalObject: true,
        },
      ],
    },
  },
  { files: ['src/**/*.ts'], rules: { 'no-console': 'error' } },
  ...places.map(importsOf),
  {
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  { files: ['**/*.js'], languageOptions: { globals: { URL: 'readonly' } } },
);
