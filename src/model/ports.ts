/** A port of the host. */
export interface HostPort {
  /** The address it is served at; empty: all of them. */
  ip: string;
  port: number;
  protocol: string;
}

/**
 * The ports that a service publishes, as compose has rendered them. Each entry is one that it needs: any one of these, where
 * a range was given for a single port. Those that the engine chooses are left out. Pure.
 */
export function publishedPorts(ports: readonly unknown[]): HostPort[][] {
  return ports.flatMap((entry) => {
    const {
      published,
      protocol = 'tcp',
      host_ip = '',
    } = entry as {
      published?: string | number;
      protocol?: string;
      host_ip?: string;
    };
    const [first, last = first] = String(published ?? '')
      .split('-')
      .map(Number);
    if (first === undefined || last === undefined || !(first > 0)) return [];
    const count = last - first + 1;
    return [Array.from({ length: count }, (_, index) => ({ ip: host_ip, port: first + index, protocol }))];
  });
}

/** Whether only one of them can be served at a time. Pure. */
export function clash(a: HostPort, b: HostPort): boolean {
  const isAny = (ip: string): boolean => ip === '' || ip === '0.0.0.0' || ip === '::';
  return a.port === b.port && a.protocol === b.protocol && (a.ip === b.ip || isAny(a.ip) || isAny(b.ip));
}
