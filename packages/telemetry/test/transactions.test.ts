// Long transactions raise an alarm of their level, short ones are only counted.
import { expect, test } from 'vitest';
import { type Alarm, createMetrics, watchTransactions } from '../src/index.ts';

test.each([
  [40, 'none', []],
  [130, 'notice', [{ severity: 'notice', numbers: { duration_ms: 130 } }]],
  [600, 'warning', [{ severity: 'warning', numbers: { duration_ms: 600 } }]],
  [1_400, 'critical', [{ severity: 'critical', numbers: { duration_ms: 1_400 } }]],
] as const)('%i ms: %s', async (durationMs, level, expected) => {
  const raised: Alarm[] = [];
  const metrics = createMetrics('test');
  let tell = (_: { name: string; durationMs: number; level: typeof level }) => undefined as unknown;
  watchTransactions(
    (listener) => {
      tell = listener;
    },
    metrics,
    { raise: (alarm) => void raised.push(alarm) },
  );
  tell({ name: 'learn', durationMs, level });
  expect(raised).toMatchObject(expected.map((one) => ({ ...one, name: 'long_transaction', subject: 'learn' })));
  const series = `ballast_transaction_duration_seconds_count{service="test",name="learn",level="${level}"} 1`;
  expect(await metrics.registry.metrics()).toContain(series);
});
