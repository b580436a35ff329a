// Which way the subscribers of the topic get their events. One of three:
//
//   kafka      the topic is up to date; nothing is delivered directly.
//   direct     Kafka takes nothing, or not in time. Deliveries are direct, from some seconds before the last one that
//              Kafka acknowledged: what it has acknowledged its consumers may not have read.
//   catch_up   Kafka takes events again, and is behind. Deliveries stay direct; the topic is filled from the journal.
//
// Back to kafka only when the topic has been up to date for a while. Repeats on the way are dropped by every consumer.
export type Route = 'kafka' | 'direct' | 'catch_up';

export interface KafkaSeen {
  readonly failing: boolean;
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
      return kafka.failing ? 'direct' : 'catch_up';
    case 'catch_up':
      if (kafka.failing) return 'direct';
      return kafka.readsLog && !bad && kafka.wellForMs >= WELL_FOR_MS ? 'kafka' : 'catch_up';
  }
}
