// How a feed stands, for people and for metrics.

import type { Tail } from '../tail/tail.ts';
import type { Delivery } from './deliver-in-turn.ts';
import type { Wanted } from './feeds.sql.ts';
import type { Rate } from './rate.ts';
import { pendingEvents, type Reading, shareDone } from './reading.ts';
import type { Wishes } from './wishes.ts';

export interface FeedStatus {
  readonly subscriber: string;
  readonly state: 'live' | 'catching_up' | 'failing' | 'paused' | 'disabled' | 'standing_by';
  readonly route: 'direct' | 'kafka';
  readonly reading: 'log' | 'journal';
  /** While it stands by: how far the subscriber is behind what Kafka acknowledged. */
  readonly lag_seconds: number;
  /** In the journal an estimate; null: not known. */
  readonly pending_events: number | null;
  readonly events_per_second: number;
  readonly delivered_events: number;
  readonly open_gaps: number;
  /** Everything decided before it is applied, held or parked there, as the subscriber says; null: it has not said. */
  readonly proven: string | null;
  readonly failing_since: string | null;
  readonly last_error: string | null;
  readonly rebuild: { readonly asked: number; readonly finished: number; readonly progress: number | null };
}

export interface FeedSeen {
  readonly subscriber: string;
  readonly route: FeedStatus['route'];
  readonly wishes: Wishes;
  readonly reading: Reading;
  readonly tail: Tail;
  readonly delivery: Delivery;
  readonly rate: Rate;
  /** How far the subscriber is behind what Kafka acknowledged, ms; undefined: it is served directly. */
  readonly standingByLateMs: number | undefined;
  /** Everything before it was delivered. Source's clock, ms, as is `now`. */
  readonly keptAt: number;
  readonly now: number;
  readonly proven: string | null;
}

export function describeFeed(seen: FeedSeen): FeedStatus {
  const { subscriber, route, wishes, reading, tail, delivery, rate, standingByLateMs, proven } = seen;
  const failure = delivery.failure();
  const { begun, finished } = wishes.rebuilds();
  const standingBy = standingByLateMs !== undefined;
  return {
    subscriber,
    state: stateOf({ wanted: wishes.wanted(), standingBy, failing: failure !== null, reading: reading.from }),
    route: standingBy ? 'kafka' : route,
    reading: reading.from,
    lag_seconds: Math.max(0, Math.round(standingByLateMs ?? lagMs(seen))) / 1_000,
    pending_events: pendingEvents(reading, tail),
    events_per_second: rate.perSecond(),
    delivered_events: delivery.delivered(),
    open_gaps: delivery.openGaps(),
    proven,
    failing_since: failure?.since ?? null,
    last_error: failure?.error ?? null,
    rebuild: {
      asked: begun,
      finished,
      progress: finished < begun && reading.from === 'journal' ? shareDone(reading) : null,
    },
  };
}

function stateOf(feed: {
  readonly wanted: Wanted;
  readonly standingBy: boolean;
  readonly failing: boolean;
  readonly reading: 'log' | 'journal';
}): FeedStatus['state'] {
  if (feed.wanted !== 'on') return feed.wanted;
  if (feed.standingBy) return 'standing_by';
  if (feed.failing) return 'failing';
  return feed.reading === 'log' ? 'live' : 'catching_up';
}

function lagMs({ reading, tail, keptAt, now }: FeedSeen): number {
  if (reading.from === 'journal') return now - keptAt;
  const [first] = tail.take(reading.cursor, 1, 0);
  return first === undefined ? tail.silentMs() : now - first.committedAt;
}
