// From a commit to Kafka's acknowledgement, at a steady rate. Measured by a consumer on the same machine's clock: from the
// journal's `occurred_at`, which is taken before the commit, to the moment at which the consumer has the record, which is
// after the acknowledgement of a broker that has no replicas to wait for. So the figures are upper bounds, at both ends.
import { serviceOf } from '../../scripts/system/run-file.ts';
import { type BenchFinding, found, type Say, target } from './findings.ts';
import { type KafkaScene, pay } from './kafka-scene.ts';
import { quantile } from './quantile.ts';
import { round } from './statistics.ts';
import { followTopic } from './topic.ts';
import { coresText, watchUsage } from './usage.ts';

const PAYMENTS_PER_SECOND = 500;
const CONNECTIONS = 200;
const WARMUP_MS = 4_000;
const RUN_MS = 12_000;
const MOST_P50_MS = 5;
const MOST_P99_MS = 50;

export async function measureLatency(scene: KafkaScene, say: Say): Promise<BenchFinding[]> {
  say(`commit to acknowledgement, ${PAYMENTS_PER_SECOND} payments/s, two events each, for ${RUN_MS / 1_000} s …`);
  const toConsumer: number[] = [];
  const toPublisher: number[] = [];
  let from = Number.POSITIVE_INFINITY;
  const clock = () => performance.timeOrigin + performance.now();
  const reading = await followTopic(scene.kafka.bootstrap, 'end', ({ key, occurredAt, publishedAt }) => {
    if (key === null || occurredAt < from || occurredAt > from + RUN_MS) return;
    toConsumer.push(clock() - occurredAt);
    toPublisher.push(publishedAt - occurredAt);
  });
  const arrival = { kind: 'open', perSecond: PAYMENTS_PER_SECOND, maxConnections: CONNECTIONS } as const;
  const { services, postgres } = scene.system.runFile;
  const usage = watchUsage(
    {
      forwarding: serviceOf(scene.system.runFile, 'forwarding').pid,
      kafka: scene.kafka.pid(0),
      query: services.query?.pid,
      collection: services.collection?.pid,
    },
    { orders: postgres.orders.pid, main: postgres.main.pid },
  );
  const paid = await pay(scene, arrival, [WARMUP_MS, RUN_MS], async () => {
    from = clock() + WARMUP_MS;
  });
  const { cores } = usage.end();
  await reading.close();
  const [p50, p99] = [quantile(toConsumer, 0.5), quantile(toConsumer, 0.99)];
  return [
    found('latency_events_per_second', round(toConsumer.length / (RUN_MS / 1_000)), [
      'events/s while measured',
      `${Math.round(toConsumer.length / (RUN_MS / 1_000))} from ${paid.perSecond.toFixed(0)} payments/s`,
    ]),
    found(
      'acknowledged_p50_ms',
      round(p50, 1),
      [
        'commit to consumer, p50',
        `${p50.toFixed(1)} ms (handed to the publisher: ${quantile(toPublisher, 0.5).toFixed(1)} ms)`,
      ],
      target(`< ${MOST_P50_MS} ms`, p50 < MOST_P50_MS),
    ),
    found(
      'acknowledged_p99_ms',
      round(p99, 1),
      [
        'commit to consumer, p99',
        `${p99.toFixed(1)} ms (handed to the publisher: ${quantile(toPublisher, 0.99).toFixed(1)} ms)`,
      ],
      target(`< ${MOST_P99_MS} ms`, p99 < MOST_P99_MS),
    ),
    found('latency_cores', cores, ['cores meanwhile', coresText(cores)]),
  ];
}
