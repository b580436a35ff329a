// What a foreign consumer makes of the orders' topic. It keeps the last version per key, as the contract asks of consumers:
// a lower one is a repeat, the next one is in order, and any other was put into the topic before its predecessor.
import { ordersTopic, partitionOf } from '@ballast/events/kafka';

export interface TopicRecord {
  readonly partition: number;
  /** The order; null: a watermark, which belongs to none. */
  readonly key: string | null;
  readonly version: number;
  /** ms since 1970, with fractions: the journal's `occurred_at`, taken before its commit. */
  readonly occurredAt: number;
  /** Whole ms since 1970: when the publisher made its batch. */
  readonly publishedAt: number;
}

export interface Read {
  readonly records: number;
  readonly watermarks: number;
  /** Different (order, version). */
  readonly events: number;
  /** When each repeat was published. */
  readonly repeats: readonly number[];
  /** Out of order, in the wrong partition, or not what the journal holds; in words. Empty: complete, gapless, in order. */
  readonly faults: readonly string[];
}

/** An order of the journal, and its last version. */
export type Journalled = readonly [order: string, version: number];

const FAULTS_KEPT = 20;

export function openTopicFold() {
  const last = new Map<string, number>();
  const repeats: number[] = [];
  const kept: string[] = [];
  let [records, watermarks, events, more] = [0, 0, 0, 0];

  function fault(text: string): void {
    if (kept.length < FAULTS_KEPT) kept.push(text);
    else more++;
  }

  function take({ partition, key, version, publishedAt }: TopicRecord): void {
    records++;
    if (key === null) {
      watermarks++;
      return;
    }
    const before = last.get(key) ?? 0;
    if (version <= before) {
      repeats.push(publishedAt);
      return;
    }
    events++;
    last.set(key, version);
    if (version !== before + 1) fault(`order ${key}: version ${version} stands after ${before}`);
    if (partition !== partitionOf(key, ordersTopic.partitions)) fault(`order ${key} is in partition ${partition}`);
  }

  /** Every order of the journal has to be there, up to its last version; and no other. */
  function compare(journal: readonly Journalled[]): Read {
    for (const [order, version] of journal)
      if (last.get(order) !== version)
        fault(`order ${order}: the topic has ${last.get(order) ?? 'nothing'} of ${version} versions`);
    if (last.size > journal.length) fault(`${last.size - journal.length} orders of the topic are in no journal`);
    const faults = more === 0 ? kept : [...kept, `and ${more} more`];
    return { records, watermarks, events, repeats, faults };
  }

  return { take, compare };
}
