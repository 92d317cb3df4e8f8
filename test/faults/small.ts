import { buildImage, keeper, shell } from '../e2e/stack-small.ts';
import { project, type Stack } from '../e2e/stack.ts';

/** A stack of one service, `keep`, with a volume at /state and no database: for faults that are tried many times. */
export interface Small {
  stack: Stack;
  /** Makes a release, and writes it into compose.yaml; it is not started. */
  release(name: string): Promise<void>;
}

/** It runs the release `one`, with three files in its volume. */
export async function small(): Promise<Small> {
  const stack = await project({ 'compose.yaml': '' });
  const release = async (name: string): Promise<void> => {
    const image = await buildImage(stack, name, keeper({ env: { RELEASE: name } }));
    await stack.write('compose.yaml', composeFile(image));
  };
  await release('one');
  await stack.up();
  const random = 'for i in 1 2 3; do head -c 100000 /dev/urandom >/state/$i; done';
  await shell(await stack.container('keep'), random);
  return { stack, release };
}

function composeFile(image: string): string {
  return `services:
  keep:
    image: ${image}
    init: true
    stop_grace_period: 1s
    volumes: [state:/state]
volumes:
  state:
`;
}
