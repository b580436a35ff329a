// A small world in which everything is right: an order database with collection's migrations, a bank's books, clients'
// histories and logs. Tests plant one fault each.
import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freshDatabase } from '@ballast/database/testing';
import pg from 'pg';
import type { BookEntry } from '../../checker/books.ts';
import type { CheckInput } from '../../checker/check.ts';
import type { Operation } from '../../checker/history.ts';
import { makeReadModel, plantReadModel } from './plant-read-model.ts';

const migrations = new URL('../../../services/collection/migrations/', import.meta.url);
const BANK = 'bank_a';

export interface SmallWorld {
  readonly client: pg.Client;
  readonly books: BookEntry[];
  readonly history: Operation[];
  /** Lines of a service's log. */
  readonly log: string[];
  readonly leases: { order_id: string; lease_epoch: number; version: number }[];
  metrics: string;
  /** Order ids by how they ended. */
  readonly orders: Record<'approved' | 'declined' | 'reversed' | 'unsent' | 'refused' | 'stuck', Planted>;
  /** Changes rows behind the back of every trigger. */
  sql(text: string, ...values: unknown[]): Promise<void>;
  input(changes?: Partial<CheckInput>): CheckInput;
}

export interface Planted {
  readonly orderId: string;
  readonly reference: string;
  readonly trace: string;
}

export interface WorldDatabase {
  readonly client: pg.Client;
  plant(): Promise<SmallWorld>;
  close(): Promise<void>;
}

/** One database for a test file; `plant` empties it and builds the world anew. */
export async function openWorld(): Promise<WorldDatabase> {
  const database = await freshDatabase('checker');
  const client = new pg.Client(database.url);
  await client.connect();
  for (const file of readdirSync(migrations).sort()) {
    if (file.endsWith('.sql')) await client.query(readFileSync(new URL(file, migrations), 'utf8'));
  }
  for (const table of ['orders', 'attempt', 'order_event'])
    await client.query(`create table ${table}_all partition of ${table} for values from (minvalue) to (maxvalue)`);
  await makeReadModel(client);
  const directory = mkdtempSync(join(tmpdir(), 'ballast-checker-'));
  return {
    client,
    plant: () => plantWorld(client, database.url, directory),
    close: async () => {
      await client.end();
      await database.drop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function plantWorld(client: pg.Client, url: string, directory: string): Promise<SmallWorld> {
  // The journal is append-only: its triggers refuse even this, but not to a replica.
  await client.query('set session_replication_role = replica');
  await client.query('truncate orders, attempt, order_event, payment_key, person_case');
  await client.query('reset session_replication_role');
  const merchant = randomUUID();
  const terminal = randomUUID();
  const books: BookEntry[] = [];
  const history: Operation[] = [];
  const world = { client, books, history, merchant, terminal };
  const orders = {
    approved: await plantOrder(world, 1, ['accepted', 'approved'], ['sent', 'approved'], 'approved'),
    declined: await plantOrder(world, 2, ['accepted', 'declined'], ['sent', 'declined'], 'declined'),
    reversed: await plantOrder(
      world,
      3,
      ['accepted', 'in_doubt', 'reversing', 'reversed'],
      ['sent', 'in_doubt', 'reversing', 'reversed'],
      'not_completed',
    ),
    unsent: await plantOrder(world, 4, ['accepted', 'not_completed'], ['sent', 'not_sent'], 'not_completed'),
    refused: await plantOrder(
      world,
      5,
      ['accepted', 'reversing', 'reversal_refused'],
      ['sent', 'reversing', 'reversal_refused'],
      'not_completed',
    ),
    stuck: await plantOrder(
      world,
      6,
      ['accepted', 'in_doubt', 'attempt_changed'],
      ['sent', 'in_doubt', 'needs_person'],
      null,
    ),
  };
  await holdNumber(world, '000099');
  await client.query(
    `insert into person_case (merchant_id, order_id, version, attempt_no, channel, reason, evidence)
     values ($1, $2, 3, 1, '${BANK}', 'tries_exhausted', '{"asked": "GET /charges"}')`,
    [merchant, orders.stuck.orderId],
  );
  await plantReadModel(client);
  const small: SmallWorld = {
    client,
    books,
    history,
    log: ['{"level":"info","msg":"listening"}'],
    leases: [],
    metrics: metricsText(10, 10),
    orders,
    sql: async (text, ...values) => {
      await client.query('set session_replication_role = replica');
      await client.query(text, values);
      await client.query('set session_replication_role = origin');
    },
    input: (changes) => ({
      orders: url,
      query: url,
      books: [write(`${BANK}.jsonl`, books)],
      histories: [write('history.jsonl', history)],
      leases: [write('leases.jsonl', small.leases)],
      logs: [writeText('collection.log', small.log)],
      metrics: [small.metrics],
      quiet: true,
      expectsPerson: ({ orderId }) => orderId === orders.stuck.orderId,
      ...changes,
    }),
  };
  const write = (name: string, rows: readonly unknown[]) =>
    writeText(
      name,
      rows.map((row) => JSON.stringify(row)),
    );
  const writeText = (name: string, lines: readonly string[]) => {
    const file = join(directory, name);
    writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
    return file;
  };
  return small;
}

/** As the services' /metrics says it. */
export function metricsText(within: number, all: number): string {
  const name = 'ballast_transaction_duration_seconds_bucket{service="collection",transaction="learn"';
  return `${name},le="1"} ${within}\n${name},le="+Inf"} ${all}\n`;
}

interface Building {
  readonly client: pg.Client;
  readonly books: BookEntry[];
  readonly history: Operation[];
  readonly merchant: string;
  readonly terminal: string;
}

async function plantOrder(
  world: Building,
  number: number,
  types: readonly string[],
  states: readonly string[],
  answer: string | null,
): Promise<Planted> {
  const { client, merchant, terminal } = world;
  const { rows } = await client.query<{ id: string; at: string }>(
    'select uuidv7() as id, clock_timestamp()::text as at',
  );
  const id = rows[0]?.id ?? '';
  const trace = String(number).padStart(6, '0');
  const reference = `REF${id.replaceAll('-', '').slice(-25)}`.toUpperCase();
  const status = types.findLast((type) => type !== 'attempt_changed') ?? '';
  const body =
    answer === null
      ? null
      : JSON.stringify({
          id: `ord_${id}`,
          status: answer,
          amount: 1250,
          currency: 'EUR',
          livemode: false,
          trace_number: trace,
        });
  const state = states.at(-1) ?? '';
  await client.query(`insert into payment_key (merchant_id, key_hash, trace_hash, order_id) values ($1, $2, $3, $4)`, [
    merchant,
    randomUUID(),
    traceHash(terminal, trace),
    id,
  ]);
  await client.query(
    `insert into orders (merchant_id, order_id, terminal_id, livemode, status, version, amount, currency, approved_amount,
       method, channel, batch_number, trace_number, instrument_fingerprint, card_bin, card_last_four, transaction_time,
       accepted_at, approve_until, voidable_until, business_date, attempt_no, lease_owner, lease_epoch, lease_until, answer, answer_status)
     values ($1, $2, $3, false, $4, $5, 1250, 'EUR', $6, 'card', '${BANK}', '000001', $7, '\\x00', '424242', '4242', now(),
       now(), now() + interval '75 s', now() + interval '1 day', '2026-11-24', 1, 'owner', 2, now(), $8, $9)`,
    [merchant, id, terminal, status, types.length, state === 'approved' ? 1250 : null, trace, body, answer],
  );
  await client.query(
    `insert into attempt (merchant_id, order_id, attempt_no, state, channel, bank_reference, bank_merchant_number,
       bank_terminal_number, amount, currency, livemode, last_send_at)
     values ($1, $2, 1, $3, '${BANK}', $4, 'M1', 'T1', 1250, 'EUR', false, now() + interval '15 s')`,
    [merchant, id, state, reference],
  );
  // Each event's data are the order as it stood then: the present row, with status, version, answer and attempt of then.
  for (const [index, type] of types.entries()) {
    const then = types.slice(0, index + 1).findLast((name) => name !== 'attempt_changed') ?? '';
    await client.query(
      `insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
       select o.merchant_id, o.order_id, $3, $4, false, 1, order_state(o, a) || jsonb_build_object('version', $3::int,
         'status', $5::text, 'answer', $6::text, 'approved_amount', $7::bigint,
         'attempt', (order_state(o, a) -> 'attempt') || jsonb_build_object('state', $8::text))
       from orders o join attempt a using (merchant_id, order_id) where o.merchant_id = $1 and o.order_id = $2`,
      [
        merchant,
        id,
        index + 1,
        type,
        then === 'accepted' ? 'processing' : then,
        index === types.length - 1 || then === 'reversing' ? answer : null,
        index === types.length - 1 && state === 'approved' ? 1250 : null,
        states[index],
      ],
    );
  }
  const entry = { at: new Date().toISOString(), reference, amount: 1250, currency: 'EUR', livemode: false };
  if (state === 'declined') world.books.push({ ...entry, kind: 'charge', result: 'declined' });
  else if (state !== 'not_sent') world.books.push({ ...entry, kind: 'charge', result: 'approved' });
  if (state === 'reversed') world.books.push({ ...entry, kind: 'reversal', result: 'reversed' });
  if (body !== null) world.history.push(operationOf(world, trace, { http: 201, body }));
  return { orderId: id, reference, trace };
}

async function holdNumber(world: Building, trace: string): Promise<void> {
  await world.client.query('insert into payment_key (merchant_id, key_hash, trace_hash) values ($1, $2, $3)', [
    world.merchant,
    randomUUID(),
    traceHash(world.terminal, trace),
  ]);
  const body = JSON.stringify({ status: 'cancelled', batch_number: '000001', trace_number: trace });
  world.history.push({ ...operationOf(world, trace, { http: 200, body }), kind: 'void', amount: null, currency: null });
}

function operationOf(world: Building, trace: string, answer: { http: number; body: string }): Operation {
  return {
    at: new Date().toISOString(),
    kind: 'payment',
    key: `key-${trace}`,
    merchant_id: `mer_${world.merchant}`,
    terminal_id: `trm_${world.terminal}`,
    livemode: false,
    batch_number: '000001',
    trace_number: trace,
    amount: 1250,
    currency: 'EUR',
    result: 'ok',
    ...answer,
  };
}

function traceHash(terminal: string, trace: string): string {
  return createHash('sha256')
    .update(['trace', 'test', terminal, '000001', trace].join('\n'))
    .digest('hex')
    .slice(0, 32);
}
