// Where deliveries go. Normally into the read model; while a rebuild runs, into the present model and then into the next
// one, so that merchants go on reading what is true now, and the next model is complete when its replay is.
//
// Several instances may deliver, and any of them may swap the models, so how the rebuild stands is read from the
// database before and after each delivery. When it changed meanwhile, the same messages are delivered again: events that
// were applied already are repeats and have no effect. So no event can fall between the two models:
//  - a delivery that began before the rebuild and ends after its start is given to the next model too;
//  - a delivery that went into a model which was swapped away meanwhile is given to the one in its place.
import type { DeliveryReply, OrderEvent } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import { type Consumer, openConsumer, type ParkedEvent } from '@ballast/events';
import type { Logger } from '@ballast/telemetry';
import { applyTo } from '../orders/apply-events.ts';
import { takeBackEvents } from '../orders/store-events.sql.ts';
import { openPartitions, type Partitions } from './partitions.ts';
import { lastRebuild, type RebuildRow } from './rebuild.sql.ts';
import { type ModelSchema, openModelPool } from './schemas.ts';

export interface DeliveriesOptions {
  readonly databaseUrl: string;
  readonly retentionDays: number;
  readonly logger: Logger;
  /** Database time, ms. */
  readonly now: () => number;
  readonly applied: (schema: ModelSchema, events: readonly OrderEvent[]) => void;
}

export interface Deliveries {
  readonly consumer: Consumer;
  /** The pool on the present model; its statements see the service's own tables too. */
  readonly knex: Knex;
  /** Of the present model. */
  partitions(): Partitions;
  close(): Promise<void>;
}

interface Model {
  readonly partitions: Partitions;
  readonly consumer: Consumer;
}

export function openDeliveries(options: DeliveriesOptions): Deliveries {
  const { databaseUrl, retentionDays, logger, now, applied } = options;
  const knex = openModelPool(databaseUrl, 'read_model');
  let present = openModel(knex, 'read_model');
  let next: { readonly model: Model; readonly knex: Knex } | null = null;
  let known = 'none';

  function openModel(pool: Knex, schema: ModelSchema): Model {
    const partitions = openPartitions(pool, retentionDays, now);
    const apply = applyTo(partitions, (events) => applied(schema, events));
    const consumer = openConsumer({ name: 'query', knex: pool, logger, apply, reconcile: takeBackEvents });
    return { partitions, consumer };
  }

  /** What was kept in memory about a model is forgotten with it. */
  async function follow(standing: RebuildRow | undefined): Promise<void> {
    const name = nameOf(standing);
    if (name === known) return;
    known = name;
    const left = next;
    present = openModel(knex, 'read_model');
    next = null;
    if (standing?.state === 'building') {
      const pool = openModelPool(databaseUrl, 'read_model_next');
      next = { knex: pool, model: openModel(pool, 'read_model_next') };
    }
    await left?.knex.destroy();
  }

  async function untilSettled<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      const before = await lastRebuild(knex);
      await follow(before);
      // The next model may be swapped or dropped under it: looked at below.
      const outcome = await work().then(
        (done) => ({ done }),
        (failed: unknown) => ({ failed }),
      );
      const after = await lastRebuild(knex);
      if (nameOf(after) !== nameOf(before)) continue; // at most once per start and end of a rebuild
      if ('failed' in outcome) throw outcome.failed;
      return outcome.done;
    }
  }

  async function deliver(messages: readonly unknown[]): Promise<DeliveryReply> {
    const reply = await present.consumer.deliver(messages);
    return next === null ? reply : both(reply, await next.model.consumer.deliver(messages));
  }

  async function retryParked(orderId: string): Promise<DeliveryReply> {
    const reply = await present.consumer.retryParked(orderId);
    if (next === null) return reply;
    const inNext = await next.model.consumer.retryParked(orderId);
    const applied = reply.applied + inNext.applied;
    return { ...both(reply, inNext), applied, parked: reply.parked + inNext.parked };
  }

  /** What is parked in both models is shown once. */
  async function parked(limit: number): Promise<ParkedEvent[]> {
    const inPresent = await present.consumer.parked(limit);
    const inNext = (await next?.model.consumer.parked(limit)) ?? [];
    return [...new Map([...inNext, ...inPresent].map((event) => [placeOf(event), event])).values()].slice(0, limit);
  }

  let last: Promise<unknown> = Promise.resolve();
  /** As the consumer does it: a pool is not taken away from under a delivery of this process. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(() => untilSettled(work));
    last = turn.catch(() => undefined); // its own caller is told
    return turn;
  }

  const consumer: Consumer = {
    deliver: (messages) => inTurn(() => deliver(messages)),
    parked: (limit) => inTurn(() => parked(limit)),
    retryParked: (orderId) => inTurn(() => retryParked(orderId)),
    forgetEverything: (trx) => present.consumer.forgetEverything(trx),
    forgetOrdersBefore: (firstKept, signal) => present.consumer.forgetOrdersBefore(firstKept, signal),
  };

  return {
    consumer,
    knex,
    partitions: () => present.partitions,
    close: async () => {
      await last;
      await next?.knex.destroy();
      await knex.destroy();
    },
  };
}

/** As many as a reply may carry. */
const MAX_GAPS = 1_000;

function nameOf(rebuild: RebuildRow | undefined): string {
  return rebuild === undefined ? 'none' : `${rebuild.id} ${rebuild.state}`;
}

function placeOf({ order_id, source, generation, version }: ParkedEvent): string {
  return `${order_id} ${source} ${generation} ${version}`;
}

/** The next model's counts and progress (the present one has seen most of a replay), and what either of them lacks. */
function both(present: DeliveryReply, next: DeliveryReply): DeliveryReply {
  return { ...next, gaps: [...present.gaps, ...next.gaps].slice(0, MAX_GAPS) };
}
