// The doctor's examination: one finding per thing looked at, each with what was seen and, where it is not good, advice.
import { request } from 'undici';
import { examineForwarding } from './examine-forwarding.ts';
import type { Finding } from './finding.ts';
import { layoutOf } from './layout.ts';
import { lookAtServices, openOrders, rowsOf } from './look-around.ts';
import { freeBytes } from './preflight.ts';
import { identityOf } from './processes.ts';
import { NotRunning, type RunFile, readRunFile } from './run-file.ts';

const LEAST_NODE = 24;
const ODD_FREE_BYTES = 2_000_000_000;
const BAD_FREE_BYTES = 500_000_000;
const ODD_CLOCK_MS = 1_000;
/** Signatures are refused beyond five minutes. */
const BAD_CLOCK_MS = 60_000;
/** The resolver has decided a healthy bank's doubts within this. */
const ODD_DOUBT_SECONDS = 120;

export async function* examine(dataDir: string): AsyncGenerator<Finding> {
  yield nodeVersion();
  yield await disk(dataDir);
  let run: RunFile;
  try {
    run = readRunFile(dataDir);
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error;
    yield { verdict: 'bad', what: 'system', seen: `nothing runs in ${layoutOf(dataDir).root}`, advice: 'npm start' };
    return;
  }
  yield launcher(run);
  for (const name of ['orders', 'main'] as const) yield await server(run, name);
  yield await clock(run);
  for (const service of await lookAtServices(run)) {
    const { name, pid, trouble, logFile } = service;
    yield trouble === undefined
      ? { verdict: 'good', what: name, seen: `ready, pid ${pid}` }
      : { verdict: 'bad', what: name, seen: trouble, advice: `it is started again by itself; why: ${logFile}` };
  }
  yield await banks(run);
  yield* examineForwarding(run);
  yield await undecided(run);
  yield await withAPerson(run);
}

function nodeVersion(): Finding {
  const { node } = process.versions;
  return Number(node.split('.')[0]) >= LEAST_NODE
    ? { verdict: 'good', what: 'Node', seen: `${node}, ${process.platform} ${process.arch}` }
    : { verdict: 'bad', what: 'Node', seen: node, advice: 'start this through npm run, it brings Node 24' };
}

async function disk(dataDir: string): Promise<Finding> {
  const folder = layoutOf(dataDir).root;
  const free = await freeBytes(folder).catch(() => undefined);
  if (free === undefined) return { verdict: 'odd', what: 'disk', seen: `${folder} is not there yet` };
  const seen = `${(free / 1e9).toFixed(1)} GB free`;
  const advice = 'free some space: PostgreSQL stops taking payments when it cannot write';
  if (free < BAD_FREE_BYTES) return { verdict: 'bad', what: 'disk', seen, advice };
  return free < ODD_FREE_BYTES
    ? { verdict: 'odd', what: 'disk', seen, advice }
    : { verdict: 'good', what: 'disk', seen };
}

function launcher({ launcher: { pid, identity } }: RunFile): Finding {
  return identityOf(pid) === identity
    ? { verdict: 'good', what: 'launcher', seen: `pid ${pid}` }
    : {
        verdict: 'bad',
        what: 'launcher',
        seen: `pid ${pid} is gone; what it started may still run, unwatched`,
        advice: 'npm start ends or adopts what is left and goes on with the same data',
      };
}

async function server(run: RunFile, name: 'orders' | 'main'): Promise<Finding> {
  const what = `PostgreSQL (${name})`;
  const { port, log_file } = run.postgres[name];
  const url = name === 'orders' ? run.databases.orders : run.databases.query;
  const rows = await rowsOf<{ version: string; durable: boolean; connections: number }>(
    url,
    `select current_setting('server_version') as version,
       current_setting('fsync') = 'on' and current_setting('synchronous_commit') <> 'off' as durable,
       (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections`,
  );
  if (rows instanceof Error)
    return {
      verdict: 'bad',
      what,
      seen: `port ${port}: ${rows.message}`,
      advice: `it is started again by itself; why: ${log_file}`,
    };
  const { version, durable, connections } = rows[0] ?? { version: '?', durable: false, connections: 0 };
  const seen = `${version} on port ${port}, ${connections} connections`;
  return durable
    ? { verdict: 'good', what, seen }
    : { verdict: 'bad', what, seen: `${seen}, commits may be lost`, advice: 'set fsync and synchronous_commit to on' };
}

async function clock(run: RunFile): Promise<Finding> {
  const before = Date.now();
  const rows = await rowsOf<{ ms: number }>(
    run.databases.orders,
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms',
  );
  if (rows instanceof Error || rows[0] === undefined)
    return { verdict: 'bad', what: 'clock', seen: 'the database does not tell' };
  const middle = (before + Date.now()) / 2;
  const apart = Math.abs(rows[0].ms - middle);
  const seen = `${Math.round(apart)} ms between this process and the order database`;
  if (apart < ODD_CLOCK_MS) return { verdict: 'good', what: 'clock', seen };
  return { verdict: apart < BAD_CLOCK_MS ? 'odd' : 'bad', what: 'clock', seen, advice: 'let NTP set the clock' };
}

async function banks(run: RunFile): Promise<Finding> {
  const admin = run.services['bank-simulator']?.admin_url;
  if (admin === undefined) return { verdict: 'odd', what: 'banks', seen: 'the simulator was not started' };
  try {
    const reply = await request(`${admin}/banks`, { signal: AbortSignal.timeout(2_000) });
    const all = (await reply.body.json()) as {
      name: string;
      behaviour: { down: boolean; extra_latency_ms: number; rules: unknown[] };
    }[];
    const ill = all
      .filter(({ behaviour }) => behaviour.down || behaviour.extra_latency_ms > 0 || behaviour.rules.length > 0)
      .map(({ name }) => name);
    return ill.length === 0
      ? { verdict: 'good', what: 'banks', seen: `${all.map(({ name }) => name).join(', ')} behave` }
      : { verdict: 'odd', what: 'banks', seen: `made ill: ${ill.join(', ')}`, advice: 'npm run heal' };
  } catch (error) {
    return { verdict: 'bad', what: 'banks', seen: error instanceof Error ? error.message : String(error) };
  }
}

async function undecided(run: RunFile): Promise<Finding> {
  const what = 'orders not decided';
  const rows = await rowsOf<{ status: string; count: number; oldest_seconds: number }>(
    run.databases.orders,
    openOrders,
  );
  if (rows instanceof Error) return { verdict: 'bad', what, seen: rows.message };
  const seen = rows.map(({ status, count }) => `${count} ${status}`).join(', ') || 'none';
  const oldest = Math.max(0, ...rows.map(({ oldest_seconds }) => oldest_seconds));
  return oldest < ODD_DOUBT_SECONDS
    ? { verdict: 'good', what, seen }
    : {
        verdict: 'odd',
        what,
        seen: `${seen}, the oldest for ${Math.round(oldest)} s`,
        advice: 'a bank that cannot say keeps them in doubt: see npm run status, and heal it',
      };
}

async function withAPerson(run: RunFile): Promise<Finding> {
  const what = 'with a person';
  const rows = await rowsOf<{ count: number }>(
    run.databases.orders,
    'select count(*)::int as count from person_case where closed_at is null',
  );
  if (rows instanceof Error) return { verdict: 'bad', what, seen: rows.message };
  const count = rows[0]?.count ?? 0;
  if (count === 0) return { verdict: 'good', what, seen: 'nothing' };
  const advice = `GET ${run.services.collection?.internal_url}/admin/persons shows each with its evidence`;
  return { verdict: 'odd', what, seen: `${count} attempts that the resolver could not decide`, advice };
}
