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
    ['A=$B\nB=c\nCOMPOSE_FILE=a$A.yml', 'a.yml'],
    ['A=$B\nB=$A\nCOMPOSE_FILE=a$A.yml', 'a.yml'],
    ['STAGE=${STAGE:-web}\nCOMPOSE_FILE=$STAGE.yml', 'web.yml'],
    ['COMPOSE_FILE=${COMPOSE_FILE:-a.yml}', 'a.yml'],
    ['A=1\nA=${A}2\nCOMPOSE_FILE=$A.yml', '12.yml'],
    ['B=x\nCOMPOSE_FILE=${A:-${B:-deep}}.yml', 'x.yml'],
    ['COMPOSE_FILE=${A:-${B:-deep}}.yml', 'deep.yml'],
    ['A=x\nCOMPOSE_FILE=a.yml${A:+:$A.yml}', 'a.yml:x.yml'],
    ["A=x\nCOMPOSE_FILE='$A.yml'", '$A.yml'],
    ['A=x\nCOMPOSE_FILE="$A.yml"', 'x.yml'],
    ['COMPOSE_FILE: a.yml', 'a.yml'],
    ['BAD=${A/x/y}\nCOMPOSE_FILE=a.yml', 'a.yml'],
    ['TEXT="two\nCOMPOSE_FILE=no"\nCOMPOSE_FILE=a.yml', 'a.yml'],
    ['COMPOSE_FILE=a$$b.yml', 'a$b.yml'],
    ['COMPOSE_FILE=a$', 'a$'],
    ['COMPOSE_FILE=a${MISSING}.yml', 'a.yml'],
  ])('reads %j', (text, value) => {
    expect(composeVariable('COMPOSE_FILE', {}, [file(text)])?.value).toBe(value);
  });

  it('takes references from the process first', () => {
    expect(
      composeVariable('COMPOSE_FILE', { STAGE: 'prod' }, [file('STAGE=dev\nCOMPOSE_FILE=$STAGE.yml')])?.value,
    ).toBe('prod.yml');
  });

  it.each(['${A?needed}', '${A', '${A:-x', '${A/x/y}', '${A/x/y}$B'])(
    'refuses %s and keeps it to itself',
    (value) => {
      const read = () =>
        composeVariable('COMPOSE_FILE', {}, [file(`COMPOSE_FILE=${value}\nPASSWORD=hunter2`)]);
      expect(read).toThrow(/COMPOSE_FILE in \/srv\/\.env refers to variables/);
      expect(read).not.toThrow(/hunter2/);
    },
  );

  it('takes references from an earlier file before its own', () => {
    const files = [file('STAGE=dev'), file('STAGE=${STAGE:-web}\nCOMPOSE_FILE=$STAGE.yml', '/srv/.env.prod')];
    expect(composeVariable('COMPOSE_FILE', {}, files)?.value).toBe('dev.yml');
  });
});
