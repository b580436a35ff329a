// Which way the subscribers of the topic get their events. One of three:
//
//   kafka      the topic is up to date.
//   direct     Kafka takes nothing, or not in time. Deliveries are direct.
//   catch_up   Kafka takes events again, and is behind. Deliveries stay direct; the topic is filled from the journal.
//
// Back to kafka only when the topic has been up to date for a while. While it is, each subscriber has a way of its own:
//
//   kafka      it reads the topic; nothing is delivered to it directly.
//   direct     it does not keep up with the topic and gets no further in it: it has lost Kafka, or its place there.
//
// A direct delivery begins where the subscriber itself said that it is. Repeats on the way are dropped by every consumer.
export type Route = 'kafka' | 'direct' | 'catch_up';

export interface KafkaSeen {
  readonly failing: boolean;
  /** It has acknowledged something since deliveries are direct. */
  readonly answers: boolean;
  /** Age of the oldest event that Kafka has not acknowledged, ms. */
  readonly lagMs: number;
  readonly readsLog: boolean;
  /** How long it has read the log without failing and without such a lag, ms. */
  readonly wellForMs: number;
}

/** Later than this is not in time; subscribers then wait less than two seconds. */
export const LATE_MS = 700;
const WELL_FOR_MS = 3_000;

export function nextRoute(route: Route, kafka: KafkaSeen): Route {
  const bad = kafka.failing || kafka.lagMs > LATE_MS;
  switch (route) {
    case 'kafka':
      return bad ? 'direct' : 'kafka';
    case 'direct':
      return kafka.failing || !kafka.answers ? 'direct' : 'catch_up';
    case 'catch_up':
      if (kafka.failing) return 'direct';
      return kafka.readsLog && !bad && kafka.wellForMs >= WELL_FOR_MS ? 'kafka' : 'catch_up';
  }
}

export type Way = 'kafka' | 'direct';

export interface SubscriberSeen {
  /** How long ago Kafka acknowledged the oldest watermark that the subscriber has not read from the topic, ms. */
  readonly lateMs: number;
  /** How long it has got no further in the topic, ms. */
  readonly stuckMs: number;
  /** How long it has kept up with it, ms. */
  readonly wellForMs: number;
}

/** Watermarks come once a second, and so do its answers; one that has much to read gets further, and is left to it. */
export const BEHIND_MS = 3_000;

export function nextWay(way: Way, { lateMs, stuckMs, wellForMs }: SubscriberSeen): Way {
  switch (way) {
    case 'kafka':
      return lateMs > BEHIND_MS && stuckMs > BEHIND_MS ? 'direct' : 'kafka';
    case 'direct':
      return lateMs <= BEHIND_MS && wellForMs >= WELL_FOR_MS ? 'kafka' : 'direct';
  }
}
