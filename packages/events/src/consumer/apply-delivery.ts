// Applies the events of one delivery: everything in one transaction, and where that fails because of what is in it, in
// halves, until the poison event stands alone and is parked.
import { type OrderEvent, Problem } from '@ballast/contracts';
import { withTransaction } from '@ballast/database';
import type { Knex } from 'knex';
import type { ConsumerOptions } from './consumer.ts';
import { failureOf, Overtaken, reasonOf } from './failures.ts';
import { type Generations, readGenerations } from './generations.ts';
import {
  type Fork,
  isBehind,
  NOTHING_YET,
  orderKey,
  type Place,
  type Plan,
  type Position,
  planDelivery,
} from './next-in-order.ts';
import { claimMoves, markWaiting, readPositions } from './positions.sql.ts';
import { readMessages } from './read-messages.ts';
import { countParked, dropHeld, hold, parkEvent, readHeld, release } from './waiting.sql.ts';

/** What came together, of which a part is applied when it is halved. */
export interface Delivery {
  readonly whole: readonly OrderEvent[];
  readonly unreadable: ReadonlyMap<OrderEvent, string>;
}

export interface Counts {
  applied: number;
  repeated: number;
  held: number;
  parked: number;
}

/** Adds to `counts` what became of the events. Rejects when they are to be sent again. */
export type Apply = (events: readonly OrderEvent[], delivery: Delivery, counts: Counts) => Promise<void>;

/** Beyond these the consumer relies on being sent the events again, or takes none until a person has looked. */
const MAX_HELD = 10_000;
const MAX_PARKED = 1_000;
const TRIES = 5;

class NoReconcile extends Error {}

export function deliveryApplier(options: ConsumerOptions): Apply {
  const { name, knex, logger } = options;

  async function apply(events: readonly OrderEvent[], delivery: Delivery, counts: Counts): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        const plan = await withTransaction(knex, `${name} delivery`, (trx) => applyBatch(trx, events, delivery));
        counts.applied += plan.next.length;
        counts.repeated += plan.repeated.length;
        counts.held += plan.early.length;
        return;
      } catch (error) {
        const failure = failureOf(error);
        if (failure === 'again' && tries < TRIES) continue;
        if (failure === 'unavailable' || failure === 'again') throw error;
        const [head, tail] = halve(events);
        if (tail.length > 0) {
          await apply(head, delivery, counts);
          return apply(tail, delivery, counts);
        }
        if (failure === 'smaller') throw error;
        return applyOneByOne(head, delivery, counts);
      }
    }
  }

  /** The event that failed may have failed because of what is held behind it: each in a transaction of its own. */
  async function applyOneByOne([event]: readonly OrderEvent[], delivery: Delivery, counts: Counts): Promise<void> {
    if (event === undefined) throw new Error('BUG: nothing to apply');
    const held = readMessages(await withTransaction(knex, `${name} held`, (trx) => readHeld(trx, [event])));
    const unreadable = new Map([...delivery.unreadable, ...held.unreadable]);
    const generations = readGenerations(delivery.whole, held.events);
    const line = [event, ...held.events];
    for (const [index, one] of line.entries()) {
      try {
        const plan = await withTransaction(knex, `${name} event`, (trx) =>
          applyAlone(trx, one, generations, unreadable),
        );
        counts.applied += plan.next.length;
        if (index === 0) counts.repeated += plan.repeated.length;
        if (index === 0) counts.held += plan.early.length;
      } catch (error) {
        if (failureOf(error) !== 'poison') throw error;
        await park(one, error);
        counts.parked++;
        return;
      }
    }
  }

  async function applyBatch(trx: Knex.Transaction, events: readonly OrderEvent[], delivery: Delivery): Promise<Plan> {
    const positions = await readPositions(trx, events);
    const open = ordersWithGap(events, positions);
    // Read as if it came over the wire again: what did not match the contract then does not match it now.
    const held = readMessages(open.length === 0 ? [] : await readHeld(trx, open));
    const plan = planDelivery([...events, ...held.events], positions, readGenerations(delivery.whole, held.events));
    const waited = plan.moves.filter((move) => move.before.waitsFor !== null);
    await applyPlan(trx, plan, positions, new Map([...delivery.unreadable, ...held.unreadable]));
    if (waited.length > 0)
      await release(
        trx,
        waited.map(({ sample, generation, version }) => ({ ...sample, generation, version })),
      );
    const alreadyHeld = new Set(held.events);
    await dropHeld(
      trx,
      plan.repeated.filter((event) => alreadyHeld.has(event)),
    );
    const early = plan.early.filter((event) => !alreadyHeld.has(event));
    if (early.length > 0) await hold(trx, early, MAX_HELD);
    if (plan.early.length > 0) await markWaiting(trx, plan.early, 'gap', placesAfter(plan, positions));
    return { ...plan, early, repeated: plan.repeated.filter((event) => !alreadyHeld.has(event)) };
  }

  async function applyAlone(
    trx: Knex.Transaction,
    event: OrderEvent,
    generations: Generations,
    unreadable: ReadonlyMap<OrderEvent, string>,
  ): Promise<Plan> {
    const positions = await readPositions(trx, [event]);
    const plan = planDelivery([event], positions, generations);
    await dropHeld(trx, plan.repeated);
    await applyPlan(trx, plan, positions, unreadable);
    if (plan.next.length > 0) await release(trx, [event]);
    if (plan.early.length > 0) {
      await hold(trx, plan.early, MAX_HELD);
      await markWaiting(trx, plan.early, 'gap', positions);
    }
    return plan;
  }

  async function applyPlan(
    trx: Knex.Transaction,
    plan: Plan,
    positions: ReadonlyMap<string, Position>,
    unreadable: ReadonlyMap<OrderEvent, string>,
  ): Promise<void> {
    if (plan.moves.length === 0) return;
    await claimMoves(trx, plan.moves, positions);
    await reconcileForks(trx, plan.forks);
    refuseUnreadable(plan.next, unreadable);
    await options.apply(trx, plan.next);
  }

  async function reconcileForks(trx: Knex.Transaction, forks: readonly Fork[]): Promise<void> {
    if (forks.length === 0) return;
    if (options.reconcile === undefined)
      throw new NoReconcile('a newer generation issued a version again, and this subscriber cannot take it back');
    await options.reconcile(trx, forks);
  }

  async function park(event: OrderEvent, error: unknown): Promise<void> {
    const reason = reasonOf(error);
    const count = await withTransaction(knex, `${name} park`, async (trx) => {
      if ((await countParked(trx)) >= MAX_PARKED)
        throw new Problem('overloaded', `${MAX_PARKED} events are parked; a person has to look first`, {
          cause: error,
        });
      const positions = await readPositions(trx, [event]);
      if (!isBehind(positions.get(orderKey(event)) ?? NOTHING_YET, event)) throw new Overtaken(1);
      await markWaiting(trx, [event], 'parked', positions);
      return parkEvent(trx, event, reason);
    });
    const { order_id, merchant_id, version, generation } = event;
    logger.error(
      { order_id, merchant_id, version, generation, reason, parked: count },
      'event parked; its order waits',
    );
  }

  return apply;
}

function ordersWithGap(events: readonly OrderEvent[], positions: ReadonlyMap<string, Position>): OrderEvent[] {
  const waiting = new Map<string, OrderEvent>();
  for (const event of events) {
    const key = orderKey(event);
    if ((positions.get(key) ?? NOTHING_YET).waitsFor === 'gap') waiting.set(key, event);
  }
  return [...waiting.values()];
}

function placesAfter(plan: Plan, positions: ReadonlyMap<string, Position>): ReadonlyMap<string, Place> {
  return new Map<string, Place>([...positions, ...plan.moves.map((move) => [move.key, move] as const)]);
}

function refuseUnreadable(events: readonly OrderEvent[], unreadable: ReadonlyMap<OrderEvent, string>): void {
  if (unreadable.size === 0) return;
  for (const event of events) {
    const reason = unreadable.get(event);
    if (reason !== undefined) throw new Error(reason);
  }
}

/** Two halves with no order in both; one order alone is halved by its events. The second half is empty for one event. */
function halve(events: readonly OrderEvent[]): readonly [readonly OrderEvent[], readonly OrderEvent[]] {
  const orders = [...new Set(events.map(orderKey))];
  if (orders.length === 1)
    return [events.slice(0, Math.ceil(events.length / 2)), events.slice(Math.ceil(events.length / 2))];
  const first = new Set(orders.slice(0, orders.length / 2));
  return [events.filter((event) => first.has(orderKey(event))), events.filter((event) => !first.has(orderKey(event)))];
}
