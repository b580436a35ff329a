// A real subscriber: a database with the consumer's tables, the consumer, and its internal face on a socket. Its effect
// is a row per event without any key, so that a second effect, or a wrong order, is seen.
import { type OrderEvent, topicReadingSchema } from '@ballast/contracts';
import { type Knex, openDatabase } from '@ballast/database';
import { freePort } from '@ballast/database/embedded';
import { freshDatabase, waitFor } from '@ballast/database/testing';
import { migrateConsumer, openConsumer, registerDirectReceiver } from '@ballast/events';
import { ensureTopics, type KafkaConnection, type KafkaConsumer, openKafkaConsumer } from '@ballast/events/kafka';
import { type App, createApp } from '@ballast/http';
import { createLogger } from '@ballast/telemetry';
import type { TestSource } from './source.ts';

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const COMPLETE_LIMIT_MS = 30_000;
const JOIN_LIMIT_MS = 60_000;

export interface TestSubscriber {
  readonly name: string;
  readonly url: string;
  readonly token: string;
  readonly knex: Knex;
  /** Before each batch is applied; a test makes it slow or makes it throw here. */
  beforeApply: (events: readonly OrderEvent[]) => Promise<void>;
  /** In the order they came. */
  readonly watermarks: { value: string; events: number }[];
  /** Of whatever reads the topic for it. */
  readonly warnings: string[];
  /** Consumes the topic too, and asks the forwarder for what is missing. */
  readTopic(connection: KafkaConnection, forwarder: { readonly internalUrl: string }): Promise<void>;
  leaveTopic(): Promise<void>;
  up(): Promise<void>;
  /** Its connections are cut in the middle of whatever they do. */
  down(): Promise<void>;
  count(): Promise<number>;
  /** Waits for every event of the journal. */
  complete(source: TestSource): Promise<void>;
  /** Watermarks that came before something which was decided before their value. */
  falseWatermarks(source: TestSource): Promise<string[]>;
  /** What is wrong with its effects compared with the journal: nothing lost, nothing twice, everything in order. */
  differences(source: TestSource): Promise<string[]>;
  close(): Promise<void>;
}

export async function startSubscriber(name: string): Promise<TestSubscriber> {
  const database = await freshDatabase(`sub_${name}`);
  const knex = openDatabase({ url: database.url, applicationName: name, poolMax: 4 });
  await migrateConsumer(knex);
  await knex.raw(
    'create table effect (n bigserial primary key, order_id uuid not null, version int not null, text text)',
  );
  const port = await freePort();
  const silent = createLogger({ service: name, level: 'silent' });
  const consumer = openConsumer({
    name,
    knex,
    logger: silent,
    onWatermark: async (trx, { value }) => {
      subscriber.watermarks.push({ value, events: await countOf(trx) });
    },
    reconcile: async (trx, forks) => {
      for (const { order_id, from_version } of forks)
        await trx.raw('delete from effect where order_id = ? and version >= ?', [order_id, from_version]);
    },
    apply: async (trx, events) => {
      await subscriber.beforeApply(events);
      await trx.raw(
        `insert into effect (order_id, version, text)
         select order_id, version, text from unnest(?::uuid[], ?::int[], ?::text[]) with ordinality as t(order_id, version, text, n)
         order by n`,
        [
          events.map((event) => event.order_id),
          events.map((event) => event.version),
          events.map((event) => event.data.merchant_reference ?? ''),
        ],
      );
    },
  });
  let app: App | undefined;
  let reading: KafkaConsumer | undefined;

  const countOf = async (on: Knex) => {
    const { rows } = await on.raw<{ rows: { count: number }[] }>('select count(*)::int as count from effect');
    return rows[0]?.count ?? 0;
  };

  const subscriber: TestSubscriber = {
    name,
    url: `http://127.0.0.1:${port}`,
    token: `token of ${name}`,
    knex,
    beforeApply: async () => undefined,
    watermarks: [],
    warnings: [],
    readTopic: async (connection, { internalUrl }) => {
      await ensureTopics(connection, 1, silent);
      const authorization = `Bearer ${subscriber.token}`;
      const open = () =>
        openKafkaConsumer({
          connection,
          logger: { ...quiet, warn: (_, message) => subscriber.warnings.push(message) },
          group: `ballast.${name}`,
          deliver: (messages) => consumer.deliver(messages),
          askForGaps: async (gaps) => {
            const reply = await fetch(`${internalUrl}/subscribers/${name}/gaps`, {
              method: 'POST',
              headers: { authorization, 'content-type': 'application/json' },
              body: JSON.stringify({ gaps }),
            });
            if (!reply.ok) throw new Error(`asking for gaps: ${reply.status}`);
          },
          mayRead: async () => {
            const reply = await fetch(`${internalUrl}/subscribers/${name}/topic`, { headers: { authorization } });
            return topicReadingSchema.parse(await reply.json()).reads;
          },
        });
      // A broker just started may not have its group coordinator yet.
      reading = await waitFor('the group to be joined', () => open().catch(() => undefined), JOIN_LIMIT_MS);
    },
    leaveTopic: async () => {
      await reading?.close();
      reading = undefined;
    },
    up: async () => {
      app = await createApp({ service: name, face: 'internal', logger: silent });
      registerDirectReceiver(app, { consumer, token: subscriber.token });
      await app.listen({ host: '127.0.0.1', port });
    },
    down: async () => {
      app?.server.closeAllConnections();
      await app?.close();
      app = undefined;
    },
    count: () => countOf(knex),
    complete: async (source) => {
      const { rows } = await source.query('select count(*)::int as count from order_event');
      await waitFor(
        `${rows[0].count} events`,
        async () => (await subscriber.count()) >= rows[0].count,
        COMPLETE_LIMIT_MS,
      );
    },
    falseWatermarks: async (source) => {
      const { rows } = await source.query(
        `select value, events, (select count(*)::int from order_event where occurred_at < value::timestamptz) as before
         from unnest($1::text[], $2::int[]) as t(value, events)`,
        [subscriber.watermarks.map(({ value }) => value), subscriber.watermarks.map(({ events }) => events)],
      );
      return rows
        .filter(({ events, before }) => events < before)
        .map(
          ({ value, events, before }) => `${value} came after ${events} events, and ${before} were decided before it`,
        );
    },
    differences: async (source) => {
      const wrong = await knex.raw<{ rows: { order_id: string; versions: number[] }[] }>(
        `select order_id, array_agg(version order by n) as versions from effect group by order_id
         having array_agg(version order by n) <> array(select generate_series(1, max(version)))`,
      );
      const journal = await source.query(
        'select count(*)::int as events, count(distinct order_id)::int as orders from order_event',
      );
      const ours = await knex.raw(
        'select count(*)::int as events, count(distinct order_id)::int as orders from effect',
      );
      const differences = wrong.rows.map(({ order_id, versions }) => `${order_id}: ${versions.join(',')}`);
      if (JSON.stringify(journal.rows[0]) !== JSON.stringify(ours.rows[0]))
        differences.push(`journal ${JSON.stringify(journal.rows[0])}, effects ${JSON.stringify(ours.rows[0])}`);
      const texts = await knex.raw<{ rows: { event: string }[] }>(
        `select order_id || ' ' || version || ' ' || text as event from effect`,
      );
      const written = await source.query(
        `select order_id || ' ' || version || ' ' || coalesce(data->>'merchant_reference', '') as event from order_event`,
      );
      const known = new Set(texts.rows.map(({ event }) => event));
      const missing = written.rows.map(({ event }) => String(event)).filter((event) => !known.has(event));
      if (missing.length > 0) differences.push(`${missing.length} of other content, the first ${missing[0]}`);
      return differences;
    },
    close: async () => {
      await subscriber.leaveTopic();
      await subscriber.down();
      await knex.destroy();
      await database.drop();
    },
  };
  await subscriber.up();
  return subscriber;
}
