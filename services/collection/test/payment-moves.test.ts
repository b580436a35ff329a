import { type OrderStatus, orderStatuses } from '@ballast/contracts';
import { migrate, openDatabase } from '@ballast/database';
import { freshDatabase } from '@ballast/database/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type AttemptState,
  attemptMoves,
  type Learning,
  learnings,
  moveOf,
  orderMoves,
  type Standing,
} from '../src/payments/payment.ts';

const flags = [false, true];
const standings: Standing[] = orderStatuses.flatMap((status) =>
  flags.flatMap((voidRequested) =>
    flags.flatMap((late) => flags.map((otherAmount) => ({ status, voidRequested, late, otherAmount }))),
  ),
);
const cases = standings.flatMap((standing) => learnings.map((learning) => ({ standing, learning })));

describe('the decision', () => {
  test('makes only moves that the table of orders allows', () => {
    const wrong = cases.filter(({ standing, learning }) => {
      const move = moveOf(learning, standing);
      return move !== null && !orderMoves[standing.status].includes(move.order);
    });
    expect(wrong).toEqual([]);
  });

  test('makes only moves that the table of attempts allows, from the state the attempt is in beside its order', () => {
    const attemptBeside: Partial<Record<OrderStatus, AttemptState>> = {
      processing: 'sent',
      in_doubt: 'in_doubt',
      reversing: 'reversing',
    };
    const wrong = cases.filter(({ standing, learning }) => {
      const move = moveOf(learning, standing);
      const from = attemptBeside[standing.status];
      return move !== null && (from === undefined || !attemptMoves[from].includes(move.attempt));
    });
    expect(wrong).toEqual([]);
  });

  test('never tells "approved" for a payment that was voided, late or approved with another amount', () => {
    const told = cases.filter(
      ({ standing, learning }) =>
        (standing.voidRequested || standing.late || standing.otherAmount) &&
        moveOf(learning, standing)?.answer === 'approved',
    );
    expect(told).toEqual([]);
  });

  test('never ends an order by doubt: only the word of the bank, or that nothing was sent', () => {
    const ended = cases.filter(({ standing, learning }) => {
      const move = moveOf(learning, standing);
      return learning === 'in_doubt' && move !== null && orderMoves[move.order].length === 0;
    });
    expect(ended).toEqual([]);
  });

  test('leaves an order that has ended where it is', () => {
    const ended = cases.filter(({ standing }) => orderMoves[standing.status].length === 0);
    expect(ended.map(({ standing, learning }) => moveOf(learning, standing)).filter((move) => move !== null)).toEqual(
      [],
    );
  });
});

describe('the statement', () => {
  let db: Awaited<ReturnType<typeof freshDatabase>>;
  let knex: ReturnType<typeof openDatabase>;

  beforeAll(async () => {
    db = await freshDatabase('moves');
    knex = openDatabase({ url: db.url, applicationName: 'test moves', poolMax: 2 });
    await migrate(knex, new URL('../migrations/', import.meta.url));
  });
  afterAll(async () => {
    await knex.destroy();
    await db.drop();
  });

  test('decides every case as moveOf does', async () => {
    const input = cases.map(({ standing: s, learning }) => [
      s.status,
      learning,
      s.voidRequested,
      s.late,
      s.otherAmount,
    ]);
    const { rows } = await knex.raw(
      `select order_after(c->>0, c->>1, (c->>2)::boolean, (c->>3)::boolean, (c->>4)::boolean) as after
       from json_array_elements(?::json) with ordinality as t(c, n) order by n`,
      [JSON.stringify(input)],
    );
    const expected = cases.map(
      ({ standing, learning }: { standing: Standing; learning: Learning }) => moveOf(learning, standing)?.order ?? null,
    );
    expect(rows.map((row: { after: string | null }) => row.after)).toEqual(expected);
    expect(rows).toHaveLength(9 * 8 * 8);
  });
});
