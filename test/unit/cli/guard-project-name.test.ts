import { describe, expect, it } from 'vitest';
import { nameIn } from '../../../src/cli/guard/project-name.ts';

const services = 'services:\n  web:\n    image: nginx\n    container_name: shop-web\n';

describe('the name of a project by its files', () => {
  it.each<[string, string, string[]]>([
    ['what the file says', 'shop', [`name: shop\n${services}`]],
    ['… with a mark of the byte order', 'shop', [`\uFEFFname: shop\n${services}`]],
    ['… in quotes, with a comment', 'shop', [`# ours\n---\nx-on: x\nname:  "shop"  # ours\n${services}`]],
    ['… in others', 'shop', [`name: 'shop'\r\n${services.replaceAll('\n', '\r\n')}`]],
    ['what the last of several says', 'staging', [`name: shop\n${services}`, services, 'name: staging\n']],
    ['what the folder is called', 'my_shop-2', [services]],
    ['… no name of anything else', 'my_shop-2', ['services:\n  name:\n    image: x\nx-y:\n- name: z\n']],
  ])('is %s', (_, name, files) => {
    expect(nameIn('/srv/_My_Shop-2!', files)).toBe(name);
  });

  it.each<[string, (string | undefined)[]]>([
    ['a file is not known', [`name: shop\n${services}`, undefined]],
    ['a file is too long', [`name: shop\n${services}${'#'.repeat(256 * 1024)}`]],
    ['a name has variables', ['name: ${NAME:-shop}\n']],
    ['… also in quotes', ['name: "${NAME}"\n']],
    ['a name is written with escapes', ['name: "sh\\x6fp"\n']],
    ['a name is an alias', ['x-name: &a shop\nname: *a\n']],
    ['a name has a tag', ['name: !!str shop\n']],
    ['a name is on the next line', ['name:\n  shop\n']],
    ['a name is folded', ['name: >-\n  shop\n']],
    ['a name goes on', ['name: shop two\n']],
    ['a name is not what compose takes', ['name: Shop\n']],
    ['a key is in quotes', ['"name": shop\n']],
    ['a key is asked for', ['? name\n: shop\n']],
    ['it is one long line', ['{name: shop, services: {}}\n']],
    ['it is merged', ['x-a: &a\n  name: shop\n<<: *a\n']],
    ['there are several documents', [`${services}--- {name: shop}\n`]],
    ['… one below the other', [`---\n${services}---\nname: shop\n`]],
    ['a line is indented with a tab', ['\tname: shop\n']],
  ])('takes compose to know where %s', (_, files) => {
    expect(nameIn('/srv/shop', files)).toBeUndefined();
  });

  it('takes compose to know where the folder has no letters', () => {
    expect(nameIn('/srv/---', [services])).toBeUndefined();
    expect(nameIn('/', [services])).toBeUndefined();
  });
});
