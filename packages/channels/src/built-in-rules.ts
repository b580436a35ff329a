// What holds on a channel until the control database has said something: conservative, with what the channel was declared
// with. Inquiries and reversals are slow by contract, and paced: after an outage thousands are due at once.
import { defaultRules, type LimitRules, type PolicyRules } from '@ballast/resilience';
import type { Operation } from './ballast-http.ts';
import type { ChannelEntry } from './channels-file.ts';

/** The resolver asks for 64 at once; a deadline drops from the line whoever waits too long. */
const MOST_WAITING = 1_000;

export function builtInRules(
  entry: Pick<ChannelEntry, 'timeout_ms' | 'paced_per_second'>,
): Record<Operation, PolicyRules> {
  const pay: PolicyRules = { ...defaultRules, timeout: { mode: 'fixed', ms: entry.timeout_ms } };
  const limit: LimitRules = { algorithm: 'paced', perSecond: entry.paced_per_second, maxWaiting: MOST_WAITING };
  const paced: PolicyRules = { ...pay, rate: { mode: 'enforce', scope: 'instance', limit, warmUpMs: 0 } };
  return { pay, inquiry: paced, reversal: paced };
}
