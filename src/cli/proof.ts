import type { Proof } from '../backup/proof.ts';
import { formatTime } from './time.ts';

/** `proven 2026-11-20 19:40`, `failed 2026-11-20 19:40`, `proven without mail …`. Pure. */
export function describeProof({ result, at, without }: Proof): string {
  const left = result === 'proven' && without.length > 0 ? ` without ${without.join(', ')}` : '';
  return `${result}${left} ${formatTime(at)}`;
}
