// Calls that end when the test says so, and policies around them.
import type { Call, PolicyEvent, PolicyOptions, PolicyRules, Verdict } from '../../src/index.ts';
import { createChannelPolicy, defaultRules } from '../../src/index.ts';

export const ok: Call<string> = async () => ({ kind: 'success', value: 'ok' });
export const bad: Call<string> = async () => ({ kind: 'technical', value: 'bad' });
export const notSent: Call<string> = async () => ({ kind: 'not_sent', value: 'not sent' });
export const never: Call<string> = () => new Promise(() => undefined);

/** A deadline so many ms from now. */
export const within = (ms = 5_000) => ({ deadline: performance.now() + ms });

export interface HeldCall {
  readonly call: Call<string>;
  /** How many have been made. */
  readonly made: number;
  /** Ends the one that was made first. */
  end(verdict?: Verdict<string>): void;
}

export function held(): HeldCall {
  const ends: ((verdict: Verdict<string>) => void)[] = [];
  let made = 0;
  return {
    get made() {
      return made;
    },
    call: () => {
      made++;
      return new Promise((resolve) => ends.push(resolve));
    },
    end: (verdict = { kind: 'success', value: 'ok' }) => {
      const first = ends.shift();
      if (first === undefined) throw new Error('no call is in flight');
      first(verdict);
    },
  };
}

export function policyOf(rules: Partial<PolicyRules> = {}, options: Partial<PolicyOptions> = {}) {
  const events: PolicyEvent[] = [];
  const policy = createChannelPolicy({
    channel: 'bank_a',
    operation: 'pay',
    rules: { ...defaultRules, ...rules },
    listener: (event) => events.push(event),
    ...options,
  });
  const kinds = () => events.map(({ kind }) => kind);
  return { policy, events, kinds };
}

/** Everything that is due without time passing. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}
