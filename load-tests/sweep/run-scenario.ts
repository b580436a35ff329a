// One scenario from an empty database to the checker's word.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { check } from '../checker/check.ts';
import { cardOf, sweptBanks } from './behaviours.ts';
import type { Scenario, ScenarioWorld } from './scenarios.ts';
import { openScene, type Scene } from './scene.ts';
import { openTills, type Till } from './tills.ts';

export interface Outcome {
  readonly scenario: string;
  readonly cases: number;
  readonly violations: readonly string[];
  /** `order status/attempt state`, as the journal saw them. */
  readonly states: readonly string[];
  /** Invariants that had something to look at. */
  readonly evaluated: readonly string[];
  readonly seconds: number;
}

export interface ScenarioDatabase {
  readonly url: string;
  drop(): Promise<void>;
  /** Kills the server and starts it again; only where the scenario has one of its own. */
  killServer(): Promise<void>;
}

/** Lease, grace, horizon and a dozen tries of the quick clock, and room for a busy machine. */
const SETTLE_MS = 60_000;
/** By then the latest answer of behaviours.ts has come, to whoever lives to hear it. */
const LAST_ANSWER_MS = 12_000;
/** What an approval's commit may be behind its decision on a busy machine. */
const APPROVAL_SLACK_MS = 1_000;

export async function runScenario(scenario: Scenario, database: ScenarioDatabase, plant?: string): Promise<Outcome> {
  const started = performance.now();
  const directory = mkdtempSync(join(tmpdir(), 'ballast-sweep-'));
  const violations: string[] = [];
  const { bankLatencyMs } = scenario;
  const scene = await openScene({ databaseUrl: database.url, directory, plant, bankLatencyMs });
  const { tills, close } = openTills(
    scene,
    sweptBanks.filter((bank) => scenario.lives || bank.needsListener !== true),
  );
  const opened = performance.now();
  const query = <Row>(sql: string) => queryOf<Row>(database.url, sql);
  const settled = () => untilSettled(query, violations);
  const world: ScenarioWorld = {
    query,
    settled,
    killPostgres: database.killServer,
    violation: (text) => violations.push(text),
  };
  try {
    await scenario.run(scene, tills, world);
    if (scenario.lives) await pause(Math.max(0, LAST_ANSWER_MS - (performance.now() - opened)));
    await settled();
    await nothingChangesByRepeating(scene, tills, query, violations);
    await Promise.all(tills.map((till) => till.look()));
    const judged = await judge(scene, query);
    violations.push(...judged.violations);
    const states = await query<{ state: string }>(
      `select distinct (data->>'status') || '/' || coalesce(data->'attempt'->>'state', '-') as state from order_event`,
    );
    const seconds = (performance.now() - started) / 1_000;
    const { name } = scenario;
    return {
      scenario: name,
      cases: tills.length,
      violations,
      states: states.map(({ state }) => state),
      evaluated: judged.evaluated,
      seconds,
    };
  } finally {
    close();
    await scene.close();
    if (violations.length === 0 || plant !== undefined) {
      await database.drop();
      rmSync(directory, { recursive: true });
    }
  }
}

async function untilSettled(query: ScenarioWorld['query'], violations: string[]): Promise<void> {
  const limit = performance.now() + SETTLE_MS;
  for (;;) {
    const open = await query<{ n: number }>(
      `select count(*)::int as n from orders where work is not null or status = 'processing'`,
    );
    if (open[0]?.n === 0) return;
    if (performance.now() > limit) return void violations.push(`${open[0]?.n} orders did not settle`);
    await pause(100);
  }
}

/** I-40. */
async function nothingChangesByRepeating(
  scene: Scene,
  tills: readonly Till[],
  query: ScenarioWorld['query'],
  violations: string[],
): Promise<void> {
  const count =
    'select (select count(*) from orders)::int as orders, (select count(*) from order_event)::int as events';
  const before = JSON.stringify(await query(count));
  await Promise.all(tills.map((till) => till.repeat()));
  const after = JSON.stringify(await query(count));
  if (before !== after) violations.push(`I-40: ${scene.file('')}: repeating everything made ${before} into ${after}`);
}

async function judge(scene: Scene, query: ScenarioWorld['query']): Promise<Pick<Outcome, 'violations' | 'evaluated'>> {
  const expected = new Set(sweptBanks.filter((bank) => bank.expectsPerson).map(({ name }) => name));
  const { results } = await check({
    orders: scene.databaseUrl,
    books: scene.books(),
    histories: [scene.file('terminals.history.jsonl')],
    logs: scene.logs,
    quiet: true,
    cards: sweptBanks.map((_bank, index) => cardOf(index)),
    secrets: scene.secrets,
    expectsPerson: ({ channel }) => expected.has(channel),
    longestBankDelayMs: 5_000,
  });
  const late = await query<{ order_id: string }>(
    `select o.order_id from orders o join order_event e on e.order_id = o.order_id and e.type = 'approved'
     where e.occurred_at > o.approve_until + ${APPROVAL_SLACK_MS} * interval '1 ms'`,
  );
  const unheard = await query<{ order_id: string }>(
    "select order_id from orders where void_requested and status in ('approved', 'processing', 'in_doubt')",
  );
  // A scenario may leave an invariant nothing to look at; the whole sweep may not.
  const judged = results.filter(({ evaluated }) => evaluated > 0);
  return {
    evaluated: judged.map(({ id }) => id),
    violations: [
      ...judged.flatMap(({ id, violations }) => violations.map((text) => `${id}: ${text}`)),
      ...late.map(({ order_id }) => `order ${order_id} became approved after its approve_until`),
      ...unheard.map(({ order_id }) => `order ${order_id} stands although a void was acknowledged`),
    ],
  };
}

async function queryOf<Row>(url: string, sql: string): Promise<Row[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query(sql)).rows as Row[];
  } finally {
    await client.end();
  }
}
