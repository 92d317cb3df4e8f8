import { describe, expect, it } from 'vitest';
import { composeVariable, type EnvFile } from '../../../src/config/compose-variables.ts';

const file = (text: string, path = '/srv/.env'): EnvFile => ({ path, text });

describe('composeVariable', () => {
  it('prefers the process, then the later file', () => {
    const files = [file('COMPOSE_PROFILES=a'), file('COMPOSE_PROFILES=b', '/srv/.env.prod')];
    expect(composeVariable('COMPOSE_PROFILES', { COMPOSE_PROFILES: 'c' }, files)).toEqual({
      value: 'c',
      from: 'the environment',
    });
    expect(composeVariable('COMPOSE_PROFILES', {}, files)).toEqual({ value: 'b', from: '/srv/.env.prod' });
    expect(composeVariable('COMPOSE_FILE', {}, files)).toBeUndefined();
  });

  it('takes an empty variable of the process for set, as compose does', () => {
    expect(
      composeVariable('COMPOSE_PROFILES', { COMPOSE_PROFILES: '' }, [file('COMPOSE_PROFILES=a')])?.value,
    ).toBe('');
  });

  it.each([
    ['COMPOSE_FILE=a.yml:b.yml # both', 'a.yml:b.yml'],
    ['export COMPOSE_FILE="a.yml"', 'a.yml'],
    ["\uFEFFCOMPOSE_FILE='a.yml'\r\n", 'a.yml'],
    ['STAGE=prod\nCOMPOSE_FILE=a.${STAGE}.yml', 'a.prod.yml'],
    ['STAGE=prod\nCOMPOSE_FILE=a.$STAGE.yml', 'a.prod.yml'],
    ['COMPOSE_FILE=a.${STAGE:-dev}.yml', 'a.dev.yml'],
    ['STAGE=\nCOMPOSE_FILE=a${STAGE-.dev}.yml', 'a.yml'],
    ['STAGE=x\nCOMPOSE_FILE=a${STAGE:+.prod}.yml', 'a.prod.yml'],
    ['STAGE=x\nCOMPOSE_FILE=${STAGE:?needed}.yml', 'x.yml'],
    ['A=$B\nB=c\nCOMPOSE_FILE=$A.yml', 'c.yml'],
    ['COMPOSE_FILE=a$$b.yml', 'a$b.yml'],
    ['COMPOSE_FILE=a${MISSING}.yml', 'a.yml'],
  ])('reads %j', (text, value) => {
    expect(composeVariable('COMPOSE_FILE', {}, [file(text)])?.value).toBe(value);
  });

  it('takes references from the process first', () => {
    expect(
      composeVariable('COMPOSE_FILE', { STAGE: 'prod' }, [file('STAGE=dev\nCOMPOSE_FILE=$STAGE.yml')])?.value,
    ).toBe('prod.yml');
  });

  it.each(['${A:-${B}}', '${A?needed}', '${A', 'a$', '${A/x/y}'])(
    'refuses %s and keeps it to itself',
    (value) => {
      const read = () =>
        composeVariable('COMPOSE_FILE', {}, [file(`COMPOSE_FILE=${value}\nPASSWORD=hunter2`)]);
      expect(read).toThrow(/COMPOSE_FILE in \/srv\/\.env refers to variables/);
      expect(read).not.toThrow(/hunter2/);
    },
  );

  it('ends where references go in circles', () => {
    expect(() => composeVariable('COMPOSE_FILE', {}, [file('A=$B\nB=$A\nCOMPOSE_FILE=$A')])).toThrow(
      /cannot be followed/,
    );
  });
});
