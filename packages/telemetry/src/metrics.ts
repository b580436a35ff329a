// Prometheus metrics of one process. Base units, `_total` for counters, one series per state with value 0 or 1.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export type { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Seconds; from half a millisecond to the longest deadline a terminal may ask for. */
const DURATION_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export interface Metrics {
  readonly registry: Registry;
  counter<L extends string>(name: string, help: string, labels: readonly L[]): Counter<L>;
  gauge<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    collect?: (this: Gauge<L>) => void | Promise<void>,
  ): Gauge<L>;
  duration<L extends string>(name: string, help: string, labels: readonly L[]): Histogram<L>;
}

export function createMetrics(service: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
    counter: (name, help, labels) => new Counter({ name, help, labelNames: [...labels], registers }),
    gauge: (name, help, labels, collect) =>
      new Gauge({ name, help, labelNames: [...labels], registers, ...(collect === undefined ? {} : { collect }) }),
    duration: (name, help, labels) =>
      new Histogram({ name, help, labelNames: [...labels], buckets: DURATION_BUCKETS, registers }),
  };
}
