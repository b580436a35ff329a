// Everything that the orders' topic holds, read by a client of the test's own, and held against the journal.
import { endOffsets, type KafkaConnection, ordersTopic } from '@ballast/events/kafka';
import kafkajs from 'kafkajs';
import type { TestSource } from './source.ts';

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Orders of the source whose records, repeats aside, are not 1 to n in order, as many as the journal has. */
export async function wrongOrders(connection: KafkaConnection, source: TestSource): Promise<string[]> {
  const inTopic = await readOrders(connection);
  const { rows } = await source.query('select order_id, max(version) as last from order_event group by order_id');
  return rows
    .filter((row: { order_id: string; last: number }) => lastInOrder(inTopic.get(row.order_id) ?? []) !== row.last)
    .map(
      (row: { order_id: string; last: number }) =>
        `${row.order_id}: ${inTopic.get(row.order_id)?.join(',')} of ${row.last}`,
    );
}

/** The last version, when each is at most one more than the greatest before it; else NaN. */
function lastInOrder(told: readonly string[]): number {
  let last = 0;
  for (const one of told) {
    const version = Number.parseInt(one, 10);
    if (version > last + 1) return Number.NaN;
    last = Math.max(last, version);
  }
  return last;
}

/** Everything in it, by order: `1 accepted`, `2 approved`, …, as it stands there. */
export async function readOrders(connection: KafkaConnection): Promise<Map<string, string[]>> {
  const ends = await endOffsets(connection, ordersTopic, quiet);
  const client = new kafkajs.Kafka({ brokers: [...connection.brokers], logLevel: kafkajs.logLevel.NOTHING });
  const consumer = client.consumer({ groupId: `test-${process.pid}-${performance.now()}` });
  const told = new Map<string, string[]>();
  const open = new Set(ends.flatMap((end, partition) => (end > 0 ? [partition] : [])));
  await consumer.connect();
  try {
    await consumer.subscribe({ topic: ordersTopic.name, fromBeginning: true });
    const done = Promise.withResolvers<void>();
    if (open.size === 0) done.resolve();
    await consumer.run({
      eachBatch: async ({ batch: { partition, messages } }) => {
        for (const { key, headers } of messages) {
          if (key === null) continue;
          const order = key.toString();
          const type = String(headers?.['ce_type']).split('.')[2];
          told.set(order, [...(told.get(order) ?? []), `${headers?.['ce_sequence']} ${type}`]);
        }
        if (Number(messages.at(-1)?.offset) >= (ends[partition] ?? 0) - 1) open.delete(partition);
        if (open.size === 0) done.resolve();
      },
    });
    await done.promise;
    return told;
  } finally {
    await consumer.disconnect();
  }
}
