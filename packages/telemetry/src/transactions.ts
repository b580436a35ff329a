// Transactions, timed, and alarmed in three levels when they last: 100 ms, 500 ms, 1 s (packages/database, transaction.ts).
import type { Alarms } from './alarms.ts';
import type { Metrics } from './metrics.ts';

interface Timing {
  readonly name: string;
  readonly durationMs: number;
  readonly level: 'none' | 'notice' | 'warning' | 'critical';
}

/** `onTransaction`: of @ballast/database; this package knows of none of ours. */
export function watchTransactions(
  onTransaction: (listener: (timing: Timing) => void) => unknown,
  metrics: Pick<Metrics, 'duration'>,
  alarms: Pick<Alarms, 'raise'>,
): void {
  const transactions = metrics.duration('ballast_transaction_duration_seconds', 'Transactions and batch statements.', [
    'name',
    'level',
  ]);
  onTransaction(({ name, durationMs, level }) => {
    transactions.observe({ name, level }, durationMs / 1_000);
    if (level === 'none') return;
    const lasted = Math.round(durationMs);
    const message = `a transaction lasted ${lasted} ms`;
    alarms.raise({
      name: 'long_transaction',
      severity: level,
      subject: name,
      message,
      numbers: { duration_ms: lasted },
    });
  });
}
