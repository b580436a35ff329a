// What a scrape shows of forwarding, read from its state at that moment.
import type { Metrics } from '@ballast/telemetry';
import type { DeliveryCounters } from './delivery/deliver-in-turn.ts';
import type { Forwarding } from './forward-source.ts';
import { warningNames } from './warnings.ts';

export function deliveryCounters(metrics: Metrics): DeliveryCounters {
  const subscriber = ['subscriber'] as const;
  return {
    events: metrics.counter(
      'ballast_forwarding_events_total',
      'Events that a subscriber has acknowledged.',
      subscriber,
    ),
    failures: metrics.counter(
      'ballast_forwarding_failures_total',
      'Deliveries that failed and are tried again.',
      subscriber,
    ),
    repeats: metrics.counter('ballast_forwarding_repeats_total', 'Events that a subscriber had already.', subscriber),
    parked: metrics.counter('ballast_forwarding_parked_total', 'Events that a subscriber could not apply.', subscriber),
    delays: metrics.duration(
      'ballast_forwarding_delay_seconds',
      'From a commit to its acknowledgement, for transactions that came from the log.',
      subscriber,
    ),
  };
}

const sourceStates = ['connecting', 'standby', 'leading', 'misconfigured', 'waiting'] as const;
const feedStates = ['live', 'catching_up', 'failing', 'paused', 'disabled', 'standing_by'] as const;
const routes = ['kafka', 'direct', 'catch_up'] as const;

export function registerForwardingMetrics(metrics: Metrics, sources: readonly Forwarding[]): void {
  const feeds = () =>
    sources.flatMap((source) => source.feeds().map((feed) => ({ source: source.status().source, feed })));
  const labels = ['source', 'subscriber'] as const;
  metrics.gauge('ballast_forwarding_lag_seconds', 'Age of the oldest event not delivered.', labels, function () {
    this.reset();
    for (const { source, feed } of feeds()) this.set({ source, subscriber: feed.subscriber }, feed.lag_seconds);
  });
  metrics.gauge('ballast_forwarding_pending_events', 'Events known and not delivered.', labels, function () {
    this.reset();
    for (const { source, feed } of feeds()) this.set({ source, subscriber: feed.subscriber }, feed.pending_events);
  });
  metrics.gauge(
    'ballast_forwarding_open_gaps',
    'Orders that wait for an event the journal lacks.',
    labels,
    function () {
      this.reset();
      for (const { source, feed } of feeds()) this.set({ source, subscriber: feed.subscriber }, feed.open_gaps);
    },
  );
  metrics.gauge('ballast_forwarding_feed_state', 'One per state.', [...labels, 'state'] as const, function () {
    this.reset();
    for (const { source, feed } of feeds())
      for (const state of feedStates)
        this.set({ source, subscriber: feed.subscriber, state }, feed.state === state ? 1 : 0);
  });
  metrics.gauge('ballast_forwarding_source_state', 'One per state.', ['source', 'state'] as const, function () {
    for (const one of sources)
      for (const state of sourceStates)
        this.set({ source: one.status().source, state }, one.status().state === state ? 1 : 0);
  });
  metrics.gauge('ballast_forwarding_warning', 'One per warning.', ['source', 'warning'] as const, function () {
    for (const one of sources) {
      const { source, warnings } = one.status();
      for (const warning of warningNames)
        this.set({ source, warning }, warnings.some(({ name }) => name === warning) ? 1 : 0);
    }
  });
  metrics.gauge(
    'ballast_forwarding_watermark_age_seconds',
    'Since the time for which the last watermark vouches.',
    ['source'] as const,
    function () {
      for (const one of sources) {
        const { source, watermark } = one.status();
        if (watermark !== null) this.set({ source }, Math.max(0, Date.now() - Date.parse(watermark)) / 1_000);
      }
    },
  );
  metrics.gauge('ballast_forwarding_generation', 'Of the source.', ['source'] as const, function () {
    for (const one of sources) {
      const { source, generation } = one.status();
      if (generation !== null) this.set({ source }, generation);
    }
  });
  metrics.gauge('ballast_forwarding_route', 'One per route.', ['source', 'route'] as const, function () {
    for (const one of sources) {
      const { source, route: current } = one.status();
      for (const route of routes) this.set({ source, route }, current === route ? 1 : 0);
    }
  });
  metrics.gauge(
    'ballast_slot_retained_bytes',
    'Log that the slot keeps on the source.',
    ['source'] as const,
    function () {
      for (const one of sources) {
        const { source, retained_bytes } = one.status();
        if (retained_bytes !== null) this.set({ source }, retained_bytes);
      }
    },
  );
}
