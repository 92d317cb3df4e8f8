/** Flags of the docker command that take a value, with or without `=`. All the others stand alone. */
const withValue = new Set([
  '--project-name',
  '--project-directory',
  '--file',
  '--env-file',
  '--profile',
  '--format',
  '--hash',
  '--pull',
  '--scale',
  '--user',
  '--env',
  '--tail',
  '--tag',
]);

/** What of the global part of a compose command is read before its verb. */
const global = new Set(['--project-name', '--project-directory', '--file', '--env-file', '--profile']);

export interface CommandLine {
  /** `compose up`, `exec`, `context inspect`. */
  verb: string;
  /** Every word that the docker command reads as a flag, without its value. */
  flags: string[];
  /** Every word that it reads as neither flag nor value: services, containers, what is run in them. */
  operands: string[];
}

/**
 * Reads a command line as the docker command does (spf13/pflag): a flag that takes a value takes the next word whatever
 * it is, `--` ends the flags, and `exec` reads no flags after its container.
 */
export function readCommandLine(argv: readonly string[]): CommandLine {
  const words = [...argv];
  if (words.shift() !== 'docker') throw new Error(`not a docker command: ${argv.join(' ')}`);
  const flags: string[] = [];
  const operands: string[] = [];
  const verbs: string[] = [];
  const verbsWanted = ['compose', 'context'].includes(words[0] ?? '') ? 2 : 1;
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const inVerbs = verbs.length < verbsWanted;
    if (word === '--') {
      if (inVerbs) throw new Error(`-- before the verb: ${argv.join(' ')}`);
      operands.push(...words.splice(0));
    } else if (word.startsWith('-') && word !== '-') {
      const name = word.split('=')[0] ?? '';
      if (inVerbs && !global.has(name)) throw new Error(`${name} before the verb: ${argv.join(' ')}`);
      flags.push(name);
      if (withValue.has(name) && !word.includes('=') && words.shift() === undefined)
        throw new Error(`${name} has no value: ${argv.join(' ')}`);
    } else if (inVerbs) {
      verbs.push(word);
    } else {
      operands.push(word);
      if (verbs[0] === 'exec') operands.push(...words.splice(0));
    }
  }
  return { verb: verbs.join(' '), flags, operands };
}
