// The read model equals the fold of the journal, whatever is delivered how often, in which order and in which batches.
import type { OrderEvent } from '@ballast/contracts';
import { orderEventTypes, orderStatuses, SNAPSHOT } from '@ballast/contracts';
import { uuidv7 } from '@ballast/database';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { event, newMerchant } from './support/events.ts';
import { startQuery, type TestQuery } from './support/query.ts';

let query: TestQuery;

beforeAll(async () => {
  query = await startQuery('fold');
});
afterAll(() => query.stop());

const change = fc.record({
  status: fc.constantFrom(...orderStatuses),
  type: fc.constantFrom(...orderEventTypes.filter((type) => type !== SNAPSHOT)),
  approvedAmount: fc.option(fc.integer({ min: 1, max: 1_000_000 })),
  reason: fc.option(fc.string({ unit: 'grapheme', maxLength: 20 }).filter((text) => !text.includes('\u0000'))),
  /** When each copy of it arrives. */
  arrivals: fc.array(fc.nat(1_000), { minLength: 1, maxLength: 3 }),
});
const story = fc.record({
  livemode: fc.boolean(),
  changes: fc.array(change, { minLength: 1, maxLength: 7 }),
  /** The source was restored to this version and went on from there in a new generation. */
  restored: fc.option(fc.record({ to: fc.nat(6), changes: fc.array(change, { minLength: 1, maxLength: 4 }) }), {
    freq: 4,
  }),
});
type Story = typeof story extends fc.Arbitrary<infer T> ? T : never;

const MOST_FILLS = 10;

interface Told {
  /** What the journal holds in the end. */
  readonly journal: OrderEvent[];
  readonly arrivals: { at: number; event: OrderEvent }[];
}

function tell(merchantId: string, { livemode, changes, restored }: Story): Told {
  const orderId = uuidv7(Date.now());
  const make = (one: Story['changes'][number], version: number, generation: number) => ({
    event: event(version, {
      orderId,
      merchantId,
      livemode,
      generation,
      type: one.type,
      state: { status: one.status, approved_amount: one.approvedAmount, reason: one.reason },
    }),
    arrivals: one.arrivals,
  });
  // The first copies of what the source wrote come in any order; repeats at any time, also after a restore.
  const first = changes.map(({ arrivals, ...one }, index) =>
    make({ ...one, arrivals: arrivals.map((at, copy) => (copy === 0 ? at : 2 * at)) }, index + 1, 1),
  );
  const kept = restored === null ? first : first.slice(0, Math.min(restored.to, first.length));
  // What a restored source writes comes in any order too, and among what the old one wrote.
  const second = (restored?.changes ?? []).map((one, index) => make(one, kept.length + index + 1, 2));
  return {
    journal: [...kept, ...second].map((one) => one.event),
    arrivals: [...first, ...second].flatMap((one) => one.arrivals.map((at) => ({ at, event: one.event }))),
  };
}

test('rows are the last events, stories are all of them', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(story, { minLength: 1, maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 20 }),
      async (stories, sizes) => {
        const merchantId = newMerchant();
        const told = stories.map((one) => tell(merchantId, one));
        const sent = told
          .flatMap((one) => one.arrivals)
          .sort((a, b) => a.at - b.at)
          .map((one) => one.event);
        for (let at = 0, turn = 0; at < sent.length; turn++) {
          const size = sizes[turn % sizes.length] ?? 1;
          // A delivery is of one database.
          for (const generation of [1, 2])
            await query.deliver(sent.slice(at, at + size).filter((one) => one.generation === generation));
          at += size;
        }
        await fillGaps(told.flatMap((one) => one.journal));
        expect(await storedOf(merchantId)).toEqual(foldOf(told.map((one) => one.journal)));
        const waiting = await query.knex.raw('select order_id from consumer_position where waits_for is not null');
        expect(waiting.rows).toEqual([]);
      },
    ),
    { numRuns: 40 },
  );
}, 120_000);

/** As forwarding does: what the journal has between the versions asked for, with a watermark to hear of the next. */
async function fillGaps(journal: readonly OrderEvent[]): Promise<void> {
  for (let round = 0; round < MOST_FILLS; round++) {
    const mark = {
      kind: 'watermark',
      source: 'collection',
      generation: 1,
      node: 'main',
      value: '2026-11-24T20:00:00.000000Z',
      run: '0199a000-0000-7000-8000-000000000001',
      after: null,
      since: null,
      replaced: [],
    };
    const { gaps } = await query.deliver([mark]);
    if (gaps.length === 0) return;
    const fill = gaps.flatMap((gap) =>
      journal.filter(
        ({ order_id, version }) =>
          order_id === gap.order_id && version > gap.after_version && version < gap.before_version,
      ),
    );
    await query.deliver(fill);
  }
}

function foldOf(journals: readonly OrderEvent[][]) {
  const orders = journals.map((journal) => {
    const last = journal.at(-1);
    return {
      order_id: last?.order_id,
      livemode: last?.livemode,
      version: last?.version,
      generation: last?.generation,
      status: last?.data.status,
      approved_amount: last?.data.approved_amount,
      reason: last?.data.reason,
      updated_at: last?.occurred_at,
      story: journal.map(({ version, generation, type, data }) => ({ version, generation, type, state: data })),
    };
  });
  return orders.sort((a, b) => ((a.order_id ?? '') < (b.order_id ?? '') ? -1 : 1));
}

async function storedOf(merchantId: string) {
  const { rows } = await query.knex.raw(
    `select o.order_id, o.livemode, o.version, o.generation, o.status, o.approved_amount, o.reason,
       rfc3339(o.updated_at) as updated_at, (
         select json_agg(json_build_object('version', s.version, 'generation', s.generation, 'type', s.type,
           'state', s.state) order by s.version)
         from order_story s where s.merchant_id = o.merchant_id and s.livemode = o.livemode and s.order_id = o.order_id
       ) as story
     from merchant_order o where o.merchant_id = ? order by o.order_id`,
    [merchantId],
  );
  return rows.map((row: { approved_amount: bigint | null }) => ({
    ...row,
    approved_amount: row.approved_amount === null ? null : Number(row.approved_amount),
  }));
}
