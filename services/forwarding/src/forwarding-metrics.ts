// What a scrape shows of forwarding, read from its state at that moment.
import type { Metrics } from '@ballast/telemetry';
import type { DeliveryCounters } from './delivery/deliver-in-turn.ts';
import type { FeedStatus } from './delivery/feed-status.ts';
import type { Forwarding } from './lead/forward-source.ts';
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
  registerFeedMetrics(metrics, sources);
  const all = () => sources.map((one) => one.status());
  // What is wrong with a source, and what its slot keeps, is its leader's to say: whoever has led knows only how it was.
  const led = () => all().filter(({ state }) => state === 'leading');
  metrics.gauge('ballast_forwarding_source_state', 'One per state.', ['source', 'state'] as const, function () {
    for (const { source, state: current } of all())
      for (const state of sourceStates) this.set({ source, state }, current === state ? 1 : 0);
  });
  metrics.gauge('ballast_forwarding_warning', 'One per warning.', ['source', 'warning'] as const, function () {
    this.reset();
    for (const { source, warnings } of led())
      for (const warning of warningNames)
        this.set({ source, warning }, warnings.some(({ name }) => name === warning) ? 1 : 0);
  });
  metrics.gauge('ballast_forwarding_route', 'One per route.', ['source', 'route'] as const, function () {
    this.reset();
    for (const { source, route: current } of led())
      for (const route of routes) this.set({ source, route }, current === route ? 1 : 0);
  });
  const source = ['source'] as const;
  metrics.gauge('ballast_slot_retained_bytes', 'Log that the slot keeps on the source.', source, function () {
    this.reset();
    for (const one of led()) if (one.retained_bytes !== null) this.set({ source: one.source }, one.retained_bytes);
  });
  metrics.gauge('ballast_forwarding_generation', 'Of the source, as last seen.', source, function () {
    for (const one of all()) if (one.generation !== null) this.set({ source: one.source }, one.generation);
  });
  const watermarkAge = 'Since the time for which the last watermark that was seen vouches.';
  metrics.gauge('ballast_forwarding_watermark_age_seconds', watermarkAge, source, function () {
    for (const one of all())
      if (one.watermark !== null)
        this.set({ source: one.source }, Math.max(0, Date.now() - Date.parse(one.watermark)) / 1_000);
  });
}

function registerFeedMetrics(metrics: Metrics, sources: readonly Forwarding[]): void {
  const feeds = () =>
    sources.flatMap((one) => {
      const { source } = one.status();
      return one.feeds().map((feed) => ({ source, subscriber: feed.subscriber, feed }));
    });
  const labels = ['source', 'subscriber'] as const;
  /** Null: no series. */
  function gauge(name: string, help: string, read: (feed: FeedStatus) => number | null): void {
    metrics.gauge(name, help, labels, function () {
      this.reset();
      for (const { source, subscriber, feed } of feeds()) {
        const value = read(feed);
        if (value !== null) this.set({ source, subscriber }, value);
      }
    });
  }
  gauge('ballast_forwarding_lag_seconds', 'Age of the oldest event not delivered.', (feed) => feed.lag_seconds);
  gauge(
    'ballast_forwarding_pending_events',
    'Events committed and not delivered; no series while it is not known.',
    (feed) => feed.pending_events,
  );
  gauge('ballast_forwarding_open_gaps', 'Orders that wait for an event the journal lacks.', (feed) => feed.open_gaps);
  metrics.gauge('ballast_forwarding_feed_state', 'One per state.', [...labels, 'state'] as const, function () {
    this.reset();
    for (const { source, subscriber, feed } of feeds())
      for (const state of feedStates) this.set({ source, subscriber, state }, feed.state === state ? 1 : 0);
  });
}
