// From a commit to Kafka's acknowledgement, at a steady rate. Measured by forwarding itself, for every transaction: from the
// time in its commit record to the moment at which the broker has acknowledged all of it, on one machine's clock. The second
// figure is a consumer's: from the journal's `occurred_at`, taken before the commit, to the record in its hands.

import { readMetrics, type Sample } from '../../scripts/system/read-metrics.ts';
import { serviceOf } from '../../scripts/system/run-file.ts';
import { type BenchFinding, found, type Say, target } from './findings.ts';
import { type KafkaScene, pay } from './kafka-scene.ts';
import { quantile } from './quantile.ts';
import { round } from './statistics.ts';
import { followTopic } from './topic.ts';
import { coresText, watchUsage } from './usage.ts';

const PAYMENTS_PER_SECOND = 500;
const CONNECTIONS = 200;
/** Steady is after the services' code was compiled, and the broker's. */
const WARMUP_MS = 10_000;
const RUN_MS = 12_000;
const MOST_P50_MS = 5;
const MOST_P99_MS = 50;

export async function measureLatency(scene: KafkaScene, say: Say): Promise<BenchFinding[]> {
  say(`commit to acknowledgement, ${PAYMENTS_PER_SECOND} payments/s, two events each, for ${RUN_MS / 1_000} s …`);
  const forwarding = serviceOf(scene.system.runFile, 'forwarding');
  const toConsumer: number[] = [];
  const clock = () => performance.timeOrigin + performance.now();
  let from = Number.POSITIVE_INFINITY;
  const reading = await followTopic(scene.kafka.bootstrap, 'end', ({ key, occurredAt }) => {
    if (key !== null && occurredAt >= from && occurredAt <= from + RUN_MS) toConsumer.push(clock() - occurredAt);
  });
  const arrival = { kind: 'open', perSecond: PAYMENTS_PER_SECOND, maxConnections: CONNECTIONS } as const;
  const { services, postgres } = scene.system.runFile;
  const usage = watchUsage(
    {
      forwarding: forwarding.pid,
      kafka: scene.kafka.pid(0),
      query: services.query?.pid,
      collection: services.collection?.pid,
    },
    { orders: postgres.orders.pid, main: postgres.main.pid },
  );
  const before = delaysOf(await readMetrics(forwarding.internal_url));
  const paid = await pay(scene, arrival, [WARMUP_MS, RUN_MS], async () => {
    from = clock() + WARMUP_MS;
  });
  const delays = since(before, delaysOf(await readMetrics(forwarding.internal_url)));
  const { cores } = usage.end();
  await reading.close();
  const [p50, p99] = [quantileOf(delays, 0.5), quantileOf(delays, 0.99)];
  return [
    found('latency_events_per_second', round(toConsumer.length / (RUN_MS / 1_000)), [
      'events/s while measured',
      `${Math.round(toConsumer.length / (RUN_MS / 1_000))} from ${paid.perSecond.toFixed(0)} payments/s`,
    ]),
    found(
      'acknowledged_p50_ms',
      round(p50, 1),
      ['commit to acknowledged, p50', `${p50.toFixed(1)} ms, of ${delays.at(-1)?.count ?? 0} transactions`],
      target(`< ${MOST_P50_MS} ms`, p50 < MOST_P50_MS),
    ),
    found(
      'acknowledged_p99_ms',
      round(p99, 1),
      ['commit to acknowledged, p99', `${p99.toFixed(1)} ms`],
      target(`< ${MOST_P99_MS} ms`, p99 < MOST_P99_MS),
    ),
    found('consumed_ms', { p50: round(quantile(toConsumer, 0.5), 1), p99: round(quantile(toConsumer, 0.99), 1) }, [
      'statement to consumer, p50/p99',
      `${quantile(toConsumer, 0.5).toFixed(1)}/${quantile(toConsumer, 0.99).toFixed(1)} ms`,
    ]),
    found('latency_cores', cores, ['cores meanwhile', coresText(cores)]),
  ];
}

/** How many took at most so long; ascending, the last one counts all. */
interface Bucket {
  readonly ms: number;
  readonly count: number;
}

function delaysOf(samples: readonly Sample[]): Bucket[] {
  return samples
    .filter(
      ({ name, labels }) => name === 'ballast_forwarding_delay_seconds_bucket' && labels['subscriber'] === 'kafka',
    )
    .map(({ labels, value }) => ({ ms: Number(labels['le']?.replace('+Inf', 'Infinity')) * 1_000, count: value }));
}

function since(before: readonly Bucket[], now: readonly Bucket[]): Bucket[] {
  return now.map(({ ms, count }, at) => ({ ms, count: count - (before[at]?.count ?? 0) }));
}

/** Between the bounds of its bucket in proportion. */
function quantileOf(buckets: readonly Bucket[], share: number): number {
  const wanted = share * (buckets.at(-1)?.count ?? Number.NaN);
  const at = buckets.findIndex(({ count }) => count >= wanted);
  const [low, high] = [buckets[at - 1] ?? { ms: 0, count: 0 }, buckets[at]];
  if (high === undefined) return Number.NaN;
  return low.ms + ((wanted - low.count) / Math.max(1, high.count - low.count)) * (high.ms - low.ms);
}
