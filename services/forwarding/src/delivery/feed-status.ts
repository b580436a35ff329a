// How a feed stands, for people and for metrics.
import type { Wanted } from './feeds.sql.ts';

export interface FeedStatus {
  readonly subscriber: string;
  readonly state: 'live' | 'catching_up' | 'failing' | 'paused' | 'disabled' | 'standing_by';
  readonly route: 'direct' | 'kafka';
  readonly reading: 'log' | 'journal';
  /** While it stands by: how far the subscriber is behind what Kafka acknowledged. */
  readonly lag_seconds: number;
  /** While catching up from the journal an estimate. */
  readonly pending_events: number;
  readonly events_per_second: number;
  readonly delivered_events: number;
  readonly open_gaps: number;
  /** Everything decided before it is applied, held or parked there, as the subscriber says; null: it has not said. */
  readonly proven: string | null;
  readonly failing_since: string | null;
  readonly last_error: string | null;
  readonly rebuild: { readonly asked: number; readonly finished: number; readonly progress: number | null };
}

export function stateOf(feed: {
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

export function shareDone({ blocks, blocksLeft }: { readonly blocks: number; readonly blocksLeft: number }): number {
  return blocks === 0 ? 0 : (blocks - blocksLeft) / blocks;
}
