// A payment whose connection to the bank is cut at one byte of the request or the answer; then everything is resolved, and
// the terminal sends the same request again.
import { runOnce } from '../../src/workers/resolver.ts';
import { openCuttingProxy } from './cutting-proxy.ts';
import { openTestPayments, type TestPayments } from './open-payments.ts';

export interface CutTally {
  readonly cuts: number;
  /** First answers by status, and how the orders ended. */
  readonly told: Record<string, number>;
  readonly ended: Record<string, number>;
  readonly wrong: string[];
}

/** At every `stride`th byte of request and answer. */
export async function runSocketCuts(stride: number): Promise<CutTally> {
  const t = await openTestPayments({ label: 'cuts', timeoutMs: 1_000 });
  const bank = await openCuttingProxy(t.bankUrl('bank_a'));
  try {
    const tally = {
      cuts: 0,
      told: {} as Record<string, number>,
      ended: {} as Record<string, number>,
      wrong: [] as string[],
    };
    const core = await t.instance('cut', { channels: t.channelsTo({ bank_a: bank.url }) });
    await t.pay(t.command(), core);
    const sizes = bank.lastSizes();
    for (const direction of ['request', 'answer'] as const) {
      for (let afterBytes = 0; afterBytes < sizes[direction]; afterBytes += stride) {
        await bank.cutNext({ direction, afterBytes });
        await oneCut(t, core, `${direction} byte ${afterBytes}`, tally);
      }
    }
    return tally;
  } finally {
    await t.close();
    await bank.close();
  }
}

async function oneCut(
  t: TestPayments,
  core: TestPayments['core'],
  where: string,
  tally: { cuts: number; told: Record<string, number>; ended: Record<string, number>; wrong: string[] },
): Promise<void> {
  tally.cuts++;
  const command = t.command();
  const first = await t.pay(command, core);
  const firstStatus = String(first.json['status']);
  tally.told[firstStatus] = (tally.told[firstStatus] ?? 0) + 1;
  for (let tries = 0; tries < 200 && (await t.order(first.order))['work'] !== null; tries++) {
    await t.knex.raw(
      "update orders set lease_until = now() - interval '1 ms' where order_id = ? and work is not null",
      [first.order],
    );
    await t.knex.raw("update attempt set last_send_at = now() - interval '1 s' where order_id = ?", [first.order]);
    await runOnce(core);
  }
  const again = await t.pay(command, core);
  const order = await t.order(first.order);
  const status = String(order['status']);
  tally.ended[status] = (tally.ended[status] ?? 0) + 1;
  const [attempt] = await t.attempts(first.order);
  const books = t.books().filter(({ reference }) => reference === attempt?.['bank_reference']);
  const charges = books.filter(({ kind, result }) => kind === 'charge' && result === 'approved').length;
  const reversals = books.filter(({ kind }) => kind === 'reversal').length;
  const standing = charges - reversals;
  if (standing > 1) tally.wrong.push(`${where}: charged ${standing} times`);
  if ((status === 'approved') !== (standing === 1))
    tally.wrong.push(`${where}: ${status} with ${standing} charges standing`);
  if (order['answer'] === null || again.body !== order['answer']) tally.wrong.push(`${where}: answered ${again.body}`);
  if (first.final && first.body !== again.body) tally.wrong.push(`${where}: told ${firstStatus}, then ${again.body}`);
}
