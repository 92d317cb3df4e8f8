import type { ComposeModel, ComposeService, Container } from '../model/project.ts';

/**
 * Services whose very containers a service refers to: it lives in their network or another namespace, or has their
 * volumes. When one of them gets a new container, so does this service. Pure.
 */
export function referredTo(service: ComposeService): string[] {
  return [
    ...namespaces.flatMap((key) => serviceIn(service[key]) ?? []),
    ...(service.volumes_from ?? []).flatMap((entry) => serviceIn(entry, '') ?? []),
  ].filter((name, index, all) => all.indexOf(name) === index);
}

/**
 * A compose file to be merged over the project's own, in which services are referred to by their present containers,
 * as compose does before it hashes a definition; undefined where no service is. Without it, what `config --hash`
 * prints of such a service is never the hash its container carries (seen with Compose 2.40).
 *
 * Pure. `!override` needs Compose 2.24; it is only there for `volumes_from`.
 */
export function resolvedReferences(
  { services }: Pick<ComposeModel, 'services'>,
  containers: readonly Pick<Container, 'service' | 'number' | 'id'>[],
): string | undefined {
  const idOf = (name: string): string | undefined =>
    containers.filter(({ service }) => service === name).sort((a, b) => a.number - b.number)[0]?.id;
  const lines: string[] = [];
  const lenders = new Set<string>();
  for (const [name, service] of Object.entries(services)) {
    const resolved = namespaces.flatMap((key) => {
      const id = idOf(serviceIn(service[key]) ?? '');
      return id === undefined ? [] : [`${key}: ${JSON.stringify(`container:${id}`)}`];
    });
    const from = (service.volumes_from ?? []).map((entry) => {
      const id = idOf(serviceIn(entry, '') ?? '');
      // Compose drops `:ro` here. Bare ids are taken for services, which therefore have to be there.
      if (id !== undefined) lenders.add(id);
      return id ?? entry;
    });
    if (lenders.size > 0 && from.length > 0) resolved.push(`volumes_from: !override ${JSON.stringify(from)}`);
    if (resolved.length > 0) lines.push(`  ${JSON.stringify(name)}: { ${resolved.join(', ')} }`);
  }
  if (lines.length === 0) return undefined;
  return ['services:', ...lines, ...[...lenders].map((id) => `  ${id}: { image: none }`), ''].join('\n');
}

const namespaces = ['network_mode', 'ipc', 'pid'] as const;

/** `service:db` → db. Of volumes_from, where it has no prefix: `db:ro` → db. */
function serviceIn(reference: string | undefined, prefix = 'service:'): string | undefined {
  if (reference?.startsWith(prefix) !== true || reference.startsWith('container:')) return undefined;
  return reference.slice(prefix.length).split(':')[0];
}
