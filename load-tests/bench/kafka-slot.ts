// What can become of the replication slot and of the topic, while payments make 1,000 events a second: the slot dropped, made
// anew by a stranger, invalidated; the topic wiped. Forwarding is back when the slot is in use, it reads the log again
// without lag, and the topic has at least as many records as the journal has events; that nothing was lost or reordered, the
// topic's read-back and the checker say afterwards.
import { setTimeout as pause } from 'node:timers/promises';
import { ordersTopic } from '@ballast/events/kafka';
import pg from 'pg';
import { type BenchFinding, found, type Say, target } from './findings.ts';
import {
  type KafkaScene,
  notApproved,
  pay,
  untilOnKafka,
  untilTopicHolds,
  untilTopicIsUpToDate,
} from './kafka-scene.ts';
import { round } from './statistics.ts';
import { deleteTopic } from './topic.ts';

const SLOT = 'ballast_forwarding';
const PAYMENTS_PER_SECOND = 500;
const CONNECTIONS = 300;
const WARMUP_MS = 1_000;
const RUN_MS = 40_000;
const REST_MS = 2_000;
const LOOK_MS = 20;
const LIMIT_MS = 20_000;
const MOST_BACK_MS = 5_000;

interface Trouble {
  readonly name: string;
  readonly backMs: number;
}

export async function loseSlotAndTopic(scene: KafkaScene, say: Say): Promise<BenchFinding[]> {
  const client = new pg.Client(scene.system.runFile.databases.orders);
  await client.connect();
  const troubles: Trouble[] = [];
  const arrival = { kind: 'open', perSecond: PAYMENTS_PER_SECOND, maxConnections: CONNECTIONS } as const;
  try {
    const paid = await pay(scene, arrival, [WARMUP_MS, RUN_MS], async () => {
      for (const [name, injure] of injuriesOf(scene, client)) {
        await pause(REST_MS);
        await injure();
        const startedAt = performance.now();
        await untilSlot(client, 'in use', 'active');
        await untilTopicIsUpToDate(scene);
        await untilTopicHolds(scene, await countEvents(client));
        troubles.push({ name, backMs: performance.now() - startedAt });
        say(`${name}: everything is in the topic ${((performance.now() - startedAt) / 1_000).toFixed(1)} s later`);
        await untilOnKafka(scene);
      }
    });
    return [...troubles.map(backAfter), stillApproved(notApproved(paid), paid.statuses)];
  } finally {
    await client.end();
  }
}

function backAfter({ name, backMs }: Trouble): BenchFinding {
  const limit = name.startsWith('slot') ? MOST_BACK_MS : undefined;
  return found(
    `back_after_${name.replaceAll(' ', '_')}_ms`,
    round(backMs),
    [`${name}: back after`, `${(backMs / 1_000).toFixed(1)} s, under load`],
    ...(limit === undefined ? [] : [target(`< ${limit / 1_000} s`, backMs < limit)]),
  );
}

function stillApproved(failed: number, statuses: unknown): BenchFinding {
  return found(
    'slot_not_approved',
    failed,
    ['payments not approved meanwhile', `${failed} of ${JSON.stringify(statuses)}`],
    target('none', failed === 0),
  );
}

function injuriesOf({ system, kafka }: KafkaScene, client: pg.Client) {
  const invalidate = async () => {
    await system.kill('forwarding', 'SIGSTOP');
    try {
      await untilSlot(client, 'inactive', 'active = false');
      await client.query(`alter system set idle_replication_slot_timeout = '1s'`);
      await client.query('select pg_reload_conf()');
      await untilSlot(client, 'lost', `wal_status = 'lost'`, 'checkpoint');
    } finally {
      await client.query('alter system reset idle_replication_slot_timeout');
      await client.query('select pg_reload_conf()');
      await system.kill('forwarding', 'SIGCONT');
    }
  };
  return [
    ['slot dropped', () => dropSlot(client)],
    [
      'slot made by a stranger',
      async () => {
        await dropSlot(client);
        await client.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [SLOT]).catch((error) => {
          if (!(error instanceof pg.DatabaseError && error.code === '42710')) throw error; // forwarding was quicker
        });
      },
    ],
    ['slot invalidated', invalidate],
    ['topic wiped', () => deleteTopic(kafka.bootstrap, ordersTopic.name)],
  ] as const;
}

async function countEvents(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ count: string }>('select count(*)::text as count from order_event');
  return Number(rows[0]?.count);
}

/** Its reader is thrown out first, as often as it comes back. */
async function dropSlot(client: pg.Client): Promise<void> {
  const until = performance.now() + LIMIT_MS;
  for (;;) {
    try {
      await client.query('select pg_drop_replication_slot($1)', [SLOT]);
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
      await client.query(
        'select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active',
        [SLOT],
      );
    }
  }
}

async function untilSlot(client: pg.Client, what: string, condition: string, before?: string): Promise<void> {
  const until = performance.now() + LIMIT_MS;
  for (;;) {
    if (before !== undefined) await client.query(before);
    const { rowCount } = await client.query(`select from pg_replication_slots where slot_name = $1 and ${condition}`, [
      SLOT,
    ]);
    if (rowCount === 1) return;
    if (performance.now() > until) throw new Error(`the slot was not ${what} within ${LIMIT_MS / 1_000} s`);
    await pause(LOOK_MS);
  }
}
