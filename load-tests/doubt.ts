// A bank dead with 3,000 payments in doubt, then back: how long until each is resolved, and is each reversed once at most.
import { defaultRules } from '@ballast/resilience';
import { defaultResolving } from '../services/collection/src/payments/resolving.ts';
import { runResolver } from '../services/collection/src/workers/resolver.ts';
import { openTestPayments, type TestPayments } from '../services/collection/test/support/open-payments.ts';
import { startSweepServer } from './sweep/sweep.ts';

const PAYMENTS = 3_000;
const AT_ONCE = 100;
/** Horizon, grace and lease are over when the bank comes back. */
const AGED_MS = 600_000;
const DEAD_FOR_MS = 10_000;
const PER_SECOND = 200;
const P99_LIMIT_S = 30;
const OPEN_LIMIT_S = 60;

const say = (line: string) => process.stdout.write(`${line}\n`);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const server = await startSweepServer();
server.serveTests();
const t = await openTestPayments({ label: 'doubt', horizonMs: 40_000, timeoutMs: 1_000 });
let passed = false;
try {
  for (const operation of ['inquiry', 'reversal'] as const) {
    t.channels.get('bank_a')?.policies[operation].applyRules({
      ...defaultRules,
      timeout: { mode: 'fixed', ms: 1_000 },
      rate: {
        ...defaultRules.rate,
        mode: 'enforce',
        limit: { algorithm: 'paced', perSecond: PER_SECOND, maxWaiting: 1_000 },
      },
    });
  }
  t.channels.get('bank_a')?.setGate({ mode: 'forced_closed', reason: 'drill' });
  passed = await drill(t);
} finally {
  await t.close();
  await server.stop(false);
}
process.exit(passed ? 0 : 1);

async function drill(t: TestPayments): Promise<boolean> {
  // The bank books every charge and answers nothing at all.
  await t.script('bank_a', {
    rules: [
      { behaviour: 'reset_after_accepting', operation: 'charge' },
      { behaviour: 'reset_before_accepting', operation: 'any' },
    ],
  });
  let left = PAYMENTS;
  const till = async () => {
    while (left-- > 0) await t.pay(t.command({}, { deadlineMs: 10_000 }));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, till));
  await t.knex.raw("update attempt set last_send_at = last_send_at - ? * interval '1 ms'", [AGED_MS]);
  await t.knex.raw(
    "update orders set lease_until = now(), approve_until = approve_until - ? * interval '1 ms' where status = 'in_doubt'",
    [AGED_MS],
  );
  say(`${await open(t)} of ${PAYMENTS} in doubt; the bank stays dead for ${DEAD_FOR_MS / 1_000} s more`);

  Object.assign(t.core, { resolving: defaultResolving });
  const resolver = runResolver(t.core);
  await pause(DEAD_FOR_MS);
  const stillOpen = await open(t);
  await t.heal('bank_a');
  const { rows: start } = await t.knex.raw('select clock_timestamp() as at');
  const back = performance.now();
  while ((await open(t)) > 0 && performance.now() - back < OPEN_LIMIT_S * 1_000) await pause(100);
  const after = await open(t);
  await resolver.close();

  const { rows } = await t.knex.raw(
    `select extract(epoch from percentile_disc(0.5) within group (order by e.occurred_at) - :at)::float8 as p50,
       extract(epoch from percentile_disc(0.99) within group (order by e.occurred_at) - :at)::float8 as p99,
       extract(epoch from max(e.occurred_at) - :at)::float8 as last
     from order_event e where e.type in ('reversed', 'not_completed', 'declined', 'reversal_refused') and e.occurred_at > :at`,
    { at: start[0].at },
  );
  const { rows: ends } = await t.knex.raw(
    'select status, count(*)::int as n from orders group by status order by status',
  );
  const reversals = new Map<string, number>();
  for (const { kind, reference } of t.books()) {
    if (kind === 'reversal') reversals.set(reference, (reversals.get(reference) ?? 0) + 1);
  }
  const twice = [...reversals.values()].filter((count) => count > 1).length;
  const met = (good: boolean) => (good ? 'met' : 'MISSED');
  const p99 = rows[0].p99 as number;
  say(`open when the bank came back   ${stillOpen}`);
  say(
    `resolved after                 p50 ${rows[0].p50.toFixed(1)} s, p99 ${p99.toFixed(1)} s (≤ ${P99_LIMIT_S}: ${met(p99 <= P99_LIMIT_S)}), last ${rows[0].last.toFixed(1)} s`,
  );
  say(`open after ${OPEN_LIMIT_S} s                ${after} (${met(after === 0)})`);
  say(
    `ended                          ${ends.map((end: { status: string; n: number }) => `${end.n} ${end.status}`).join(', ')}`,
  );
  say(`reversed more than once        ${twice} of ${reversals.size} in the bank's books (${met(twice === 0)})`);
  return p99 <= P99_LIMIT_S && after === 0 && twice === 0;
}

async function open(t: TestPayments): Promise<number> {
  const { rows } = await t.knex.raw('select count(*)::int as n from orders where work is not null');
  return rows[0].n;
}
