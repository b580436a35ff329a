// The channels of this process: one adapter each, with its own pool and policies, told of in metrics and the log.
import { builtInRules, type ChannelEntry, type HttpChannel, type Operation, openHttpChannel } from '@ballast/channels';
import { refuseInTransaction } from '@ballast/database';
import type { PolicyEvent } from '@ballast/resilience';
import type { Alarms, Logger } from '@ballast/telemetry';
import type { CollectionMetrics } from '../metrics.ts';
import { watchChannels } from './channel-metrics.ts';

export type PolicyListener = (channel: string, operation: Operation, event: PolicyEvent) => void;

export interface OpenChannelsOptions {
  readonly entries: readonly ChannelEntry[];
  readonly logger: Logger;
  readonly alarms: Pick<Alarms, 'raise'>;
  readonly metrics: CollectionMetrics;
  /** Told of every event beside the metrics and the log; may grow after the channels were opened. */
  readonly listeners?: readonly PolicyListener[];
}

export function openChannels({
  entries,
  logger,
  alarms,
  metrics,
  listeners = [],
}: OpenChannelsOptions): Map<string, HttpChannel> {
  const channels = new Map(entries.map((entry) => [entry.name, openOne(entry)]));
  watchChannels(metrics, channels.values());
  return channels;

  function openOne(entry: ChannelEntry): HttpChannel {
    const channel = openHttpChannel({
      name: entry.name,
      url: entry.url,
      livemode: entry.livemode,
      horizonMs: entry.horizon_ms,
      keepsEarlyReversals: entry.keeps_early_reversals,
      ...(entry.token === undefined ? {} : { token: entry.token }),
      rules: builtInRules(entry),
      beforeCall: refuseInTransaction,
      listener: (operation, event) => told(entry.name, operation, event),
    });
    const counted = async <T extends Parameters<typeof metrics.channelOutcome>[2]>(
      operation: Operation,
      call: Promise<T>,
    ) => {
      const outcome = await call;
      metrics.channelOutcome(entry.name, operation, outcome);
      return outcome;
    };
    return {
      ...channel,
      pay: (charge, options) => counted('pay', channel.pay(charge, options)),
      inquire: (identity, options) => counted('inquiry', channel.inquire(identity, options)),
      reverse: (identity, repeat, options) => counted('reversal', channel.reverse(identity, repeat, options)),
    };
  }

  function told(channel: string, operation: Operation, event: PolicyEvent): void {
    metrics.channelEvent(channel, operation, event);
    for (const listener of listeners) listener(channel, operation, event);
    if (event.kind === 'state') {
      const severity = event.state === 'open' ? 'warning' : 'notice';
      const message = `the circuit breaker of ${channel} ${operation} is ${event.state}`;
      alarms.raise({ name: `breaker_${event.state}`, severity, subject: `${channel} ${operation}`, message });
    }
    if (event.kind === 'timeout_exceeds_caller') {
      const numbers = { timeout_ms: event.timeoutMs, caller_allows_ms: Math.round(event.callerAllowsMs) };
      logger.warn({ channel, operation, ...numbers }, 'the timeout in force is longer than the caller allows');
    }
    if (event.kind === 'late')
      logger.warn({ channel, operation, after_ms: Math.round(event.afterMs) }, 'an abandoned call ended after all');
  }
}
