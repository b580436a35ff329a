// The channels of this process: one adapter each, with its own pool and policies, told of in metrics and the log.
import { type ChannelEntry, type HttpChannel, type Operation, openHttpChannel } from '@ballast/channels';
import { refuseInTransaction } from '@ballast/database';
import { defaultRules, type PolicyEvent, type PolicyRules } from '@ballast/resilience';
import type { Logger } from '@ballast/telemetry';
import type { CollectionMetrics } from '../metrics.ts';

export interface OpenChannelsOptions {
  readonly entries: readonly ChannelEntry[];
  readonly logger: Logger;
  readonly metrics: CollectionMetrics;
}

export function openChannels({ entries, logger, metrics }: OpenChannelsOptions): Map<string, HttpChannel> {
  return new Map(entries.map((entry) => [entry.name, openOne(entry)]));

  function openOne(entry: ChannelEntry): HttpChannel {
    const rules = builtInRules(entry);
    return openHttpChannel({
      name: entry.name,
      url: entry.url,
      livemode: entry.livemode,
      horizonMs: entry.horizon_ms,
      keepsEarlyReversals: entry.keeps_early_reversals,
      ...(entry.token === undefined ? {} : { token: entry.token }),
      rules: { pay: rules, inquiry: rules, reversal: rules },
      beforeCall: refuseInTransaction,
      listener: (operation, event) => told(entry.name, operation, event),
    });
  }

  function told(channel: string, operation: Operation, event: PolicyEvent): void {
    metrics.channelEvent(channel, operation, event);
    if (event.kind === 'state')
      logger.warn({ channel, operation, state: event.state }, 'circuit breaker changed state');
    if (event.kind === 'late')
      logger.warn({ channel, operation, after_ms: Math.round(event.afterMs) }, 'an abandoned call ended after all');
  }
}

/** In force until the control database has said something: conservative, with the timeout the channel was declared with. */
export function builtInRules(entry: ChannelEntry): PolicyRules {
  return { ...defaultRules, timeout: { mode: 'fixed', ms: entry.timeout_ms } };
}
