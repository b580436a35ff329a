// The feeds of one source: one for each subscriber, and one for Kafka where there is one.
import type { Replaced } from '@ballast/contracts';
import type { Logger } from '@ballast/telemetry';
import type { Journal } from '../journal/journal.ts';
import { complainOfOpenTransaction } from '../journal/open-transaction.ts';
import type { Tail } from '../tail/tail.ts';
import type { Warnings } from '../warnings.ts';
import type { DeliveryCounters } from './deliver-in-turn.ts';
import { type Feed, openFeed } from './feed.ts';
import type { StoredFeed } from './feeds.sql.ts';
import { keepRoute, type RouteKeeper } from './keep-route.ts';
import { openSender, type Subscriber } from './send-delivery.ts';
import { type KafkaSettings, openKafkaSender } from './send-to-kafka.ts';

/** Kafka's feed among the subscribers; none of them may be called so. */
export const KAFKA = 'kafka';

export interface FeedsOptions {
  readonly source: string;
  readonly generation: number;
  readonly replaced: readonly Replaced[];
  readonly stored: readonly { readonly feed: StoredFeed; readonly startsInLog: boolean }[];
  readonly subscribers: readonly Subscriber[];
  readonly kafka: KafkaSettings | undefined;
  readonly tail: Tail;
  readonly journal: Journal;
  readonly logger: Logger;
  readonly counters: DeliveryCounters;
  readonly warnings: Pick<Warnings, 'set'>;
  now(): number;
}

export interface Feeds {
  readonly all: readonly Feed[];
  readonly route: RouteKeeper | undefined;
}

/** Not more than fifty deliveries a second to one subscriber. */
const DIRECT_INTERVAL_MS = 20;
/** Commits of one moment share a request; half of what p50 from commit to acknowledgement may be. */
const KAFKA_INTERVAL_MS = 1;

export function openFeeds(options: FeedsOptions): Feeds {
  const { stored, subscribers, kafka, journal, logger, warnings } = options;
  const onHeldUp = complainOfOpenTransaction(journal, logger);
  const all = stored.map(({ feed, startsInLog }): Feed => {
    const common = { ...options, name: feed.subscriber, stored: feed, startsInLog, onHeldUp };
    const subscriber = subscribers.find(({ name }) => name === feed.subscriber);
    if (subscriber !== undefined)
      return openFeed({ ...common, route: 'direct', sender: openSender(subscriber), intervalMs: DIRECT_INTERVAL_MS });
    if (kafka === undefined) throw new Error('BUG: a feed without its subscriber');
    const onLost = (why: string) => opened.startOver(`the topic has lost records: ${why}`);
    const onTopics = (difference: string | null) => warnings.set('topic_differs', difference);
    const opened = openFeed({
      ...common,
      route: 'kafka',
      sender: openKafkaSender({ connection: kafka, logger, acknowledged: feed.published, onLost, onTopics }),
      intervalMs: KAFKA_INTERVAL_MS,
    });
    return opened;
  });
  const ofTopic = new Set(subscribers.filter(({ route }) => route === 'kafka').map(({ name }) => name));
  const kafkaFeed = all.find((feed) => feed.subscriber === KAFKA);
  const direct = all.filter((feed) => ofTopic.has(feed.subscriber));
  return { all, route: kafkaFeed === undefined ? undefined : keepRoute(kafkaFeed, direct, logger) };
}
