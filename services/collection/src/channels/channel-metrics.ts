// What a scrape shows of this process's channels, read from their policies at that moment: from the first second on, also
// of a channel that nobody has used yet.
import type { HttpChannel } from '@ballast/channels';
import type { PolicySnapshot } from '@ballast/resilience';
import type { Metrics } from '@ballast/telemetry';

const states = ['closed', 'open', 'half_open', 'recovering'] as const satisfies readonly PolicySnapshot['state'][];
const labels = ['channel', 'operation'] as const;

export function watchChannels(metrics: Pick<Metrics, 'gauge'>, channels: Iterable<HttpChannel>): void {
  const policies = [...channels].flatMap(({ policies: of }) => Object.values(of));
  const seen = () => policies.map((policy) => policy.snapshot());

  metrics.gauge(
    'ballast_channel_state',
    'The breaker: one series per state; 1 for the present one.',
    [...labels, 'state'],
    function () {
      for (const { channel, operation, state } of seen())
        for (const one of states) this.set({ channel, operation, state: one }, one === state ? 1 : 0);
    },
  );

  /** Null: there is no such number now, and no series. */
  const number = (name: string, help: string, of: (snapshot: PolicySnapshot) => number | null) =>
    metrics.gauge(name, help, labels, function () {
      this.reset();
      for (const snapshot of seen()) {
        const { channel, operation } = snapshot;
        const value = of(snapshot);
        if (value !== null) this.set({ channel, operation }, value);
      }
    });
  number('ballast_channel_in_flight', 'Calls under way.', ({ inFlight }) => inFlight);
  number('ballast_channel_in_flight_limit', 'Calls at once, at most.', ({ maxInFlight }) => maxInFlight);
  number('ballast_channel_waiting', 'Calls that wait in the line.', ({ waiting }) => waiting);
  number('ballast_channel_waiting_limit', 'Places in the line.', ({ maxWaiting }) => maxWaiting);
  number('ballast_channel_rate_tokens', 'Calls that the rate limit would let go now.', ({ rateTokens }) => rateTokens);
  number('ballast_channel_retry_tokens', 'Retries that are paid for.', ({ retryTokens }) => retryTokens);
  number(
    'ballast_channel_shadow_calls',
    "Calls that the candidate's rules have seen.",
    ({ shadow }) => shadow?.calls ?? null,
  );
  number('ballast_channel_timeout_seconds', 'The timeout in force.', ({ timeoutMs }) => timeoutMs / 1_000);
}
