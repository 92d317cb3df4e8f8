/** What each rule is about: what would be lost, and what to do instead. The names are part of the output. */
export const rules = {
  'down-volumes': {
    loses: 'the volumes of the project, named and anonymous',
    instead: ['docker compose stop', 'docker compose rm -f', 'docker compose up -d', 'safe-update prod'],
  },
  'volume-rm': {
    loses: 'the volume',
    instead: ['safe-update backup', 'docker volume inspect NAME'],
  },
  'volume-prune': {
    loses: 'every volume that no container uses, those of a stopped stack too',
    instead: ['docker volume ls -f dangling=true', 'docker image prune', 'docker builder prune'],
  },
  'system-prune': {
    loses: 'the volumes of every stopped container, and the images to roll back to',
    instead: ['docker image prune', 'docker builder prune', 'docker container prune'],
  },
  'rm-volumes': {
    loses: 'the anonymous volumes of the containers',
    instead: ['docker rm -f', 'docker compose rm -f'],
  },
  'up-yes': {
    loses: 'a named volume whose definition has changed: compose deletes and makes it anew',
    instead: ['docker compose up -d', 'safe-update prod'],
  },
  'renew-volumes': {
    loses: 'the link to the anonymous volumes: the containers start with empty ones',
    instead: ['docker compose up -d --force-recreate', 'safe-update prod'],
  },
  'payload-files': {
    loses: 'the files on a volume of the container',
    instead: ['safe-update backup'],
  },
  'payload-database': {
    loses: 'what the database holds',
    instead: ['safe-update backup'],
  },
  'data-path': {
    loses: 'everything at a place where the engine or a service keeps its data',
    instead: ['docker volume ls', 'safe-update backup'],
  },
  'engine-api': {
    loses: 'what the same docker command would delete',
    instead: ['docker volume ls'],
  },
  'stack-rm': {
    loses: 'the stack with its anonymous volumes',
    instead: ['docker service scale SERVICE=0'],
  },
  'swarm-leave': {
    loses: 'the state of the swarm: its services, configs and secrets',
    instead: ['docker node update --availability drain NODE'],
  },
  'plugin-rm': {
    loses: 'access to the volumes of this driver',
    instead: ['docker plugin disable PLUGIN'],
  },
  'engine-reset': {
    loses: 'everything of this engine: containers, images and volumes',
    instead: ['docker system df', 'safe-update backup'],
  },
  'guard-off': {
    loses: 'the guard itself, or its say in a command',
    instead: ['a person does that, at a terminal'],
  },
  unknown: {
    loses: 'perhaps volumes: part of the command is not known before it runs',
    instead: ['the command written out, without the variable or substitution'],
  },
  unreadable: {
    loses: 'perhaps volumes: the text could not be read to its end',
    instead: ['the command by itself, short and plain'],
  },
} as const satisfies Record<string, { loses: string; instead: readonly string[] }>;

export type RuleName = keyof typeof rules;
