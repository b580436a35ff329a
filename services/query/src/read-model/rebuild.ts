// Rebuilds the read model from nothing, beside the present one. Merchants go on reading the present model, which is whole at
// every moment, until the next one, complete, takes its name in one short transaction. New events wait behind the replay,
// so what is read may be as old as the replay is long: replies then carry `Ballast-Rebuilding: true`.
//
//   preparing   the next schema is being made, empty
//   building    every delivery goes into both models (deliveries.ts); forwarding is asked to replay the journal from its
//               first event; then the next model fills
//   done        the replay is delivered whole, no order of the next model waits for a missing event, and no more events
//               are parked in it than in the present one: it was swapped in. The old one is dropped
//   cancelled   by an operator; the next model is dropped
//
// Each step can be done again: a process that dies in the middle goes on from the row when it is back.
import { Problem } from '@ballast/contracts';
import { type Knex, withTransaction } from '@ballast/database';
import type { Logger } from '@ballast/telemetry';
import type { Forwarding } from './forwarding.ts';
import {
  cancelRebuild,
  insertRebuild,
  lastRebuild,
  markReplay,
  noteDetail,
  type RebuildRow,
  readStanding,
  startBuilding,
  swapModels,
} from './rebuild.sql.ts';
import { dropLeftovers, makeNextModel } from './schemas.ts';

export interface RebuildOptions {
  readonly knex: Knex;
  readonly databaseUrl: string;
  /** Only the instance that started a rebuild takes its steps. */
  readonly instance: string;
  readonly forwarding: Forwarding | undefined;
  readonly logger: Logger;
}

export interface Rebuilds {
  /** Starts one, or tells how the one that runs stands. */
  start(): Promise<RebuildBody>;
  progress(): Promise<RebuildBody>;
  /** Throws `not_found` when none runs. */
  cancel(): Promise<void>;
  /** One step; resolves to whether a rebuild is running after it. For tests, and the body of `run`. */
  runOnce(): Promise<boolean>;
  /** For ever; `close` waits for the step under way. */
  run(): { close(): Promise<void> };
}

export interface RebuildBody {
  readonly id: number | null;
  readonly state: RebuildRow['state'] | 'none';
  readonly started_at: string | null;
  readonly replay: number | null;
  readonly ended_at: string | null;
  readonly detail: string;
}

const INTERVAL_MS = 500;

export function openRebuilds({ knex, databaseUrl, instance, forwarding, logger }: RebuildOptions): Rebuilds {
  /** A rebuild of this process may have ended, and what it leaves is not dropped yet. */
  let leftovers = false;

  async function cleanUp(): Promise<void> {
    await dropLeftovers(databaseUrl);
    leftovers = false;
  }

  async function start(): Promise<RebuildBody> {
    if (forwarding === undefined)
      throw new Problem('invalid_request', 'No forwarding_url is configured, so nobody would replay the journal.');
    await insertRebuild(knex, instance);
    return bodyOf(await lastRebuild(knex));
  }

  async function cancel(): Promise<void> {
    if (!(await cancelRebuild(knex))) throw new Problem('not_found', 'No rebuild is running.');
    leftovers = true;
    await cleanUp();
  }

  async function runOnce(): Promise<boolean> {
    const rebuild = await lastRebuild(knex);
    if (rebuild === undefined) return false;
    if (rebuild.ended_at !== null && leftovers) await cleanUp();
    if (rebuild.ended_at !== null || rebuild.instance !== instance) return false;
    if (forwarding === undefined) return false;
    if (rebuild.state === 'preparing') {
      await makeNextModel(databaseUrl);
      await startBuilding(knex, rebuild.id);
      return true;
    }
    if (rebuild.replay === null) {
      await markReplay(knex, rebuild.id, await forwarding.askReplay());
      return true;
    }
    return !(await finishWhenWhole(rebuild, await forwarding.replay(rebuild.replay)));
  }

  async function finishWhenWhole(
    rebuild: RebuildRow,
    { finished, standing }: { finished: boolean; standing: string },
  ): Promise<boolean> {
    const { gaps, parked, parkedInPresent } = await readStanding(knex);
    const detail = `${standing}; ${gaps} orders wait for an event, ${parked} events are parked`;
    if (!finished || gaps > 0 || parked > parkedInPresent) {
      await noteDetail(knex, rebuild.id, detail);
      return false;
    }
    leftovers = true; // before: nobody knows whether a commit without an answer was one
    const swapped = await withTransaction(knex, 'read model swap', (trx) => swapModels(trx, rebuild.id, detail));
    if (swapped) logger.info({ rebuild: rebuild.id, detail }, 'the rebuilt read model took its place');
    await cleanUp();
    return swapped;
  }

  return {
    start,
    progress: async () => bodyOf(await lastRebuild(knex)),
    cancel,
    runOnce,
    run: () => runFor(runOnce, (error) => logger.error({ err: error }, 'rebuild: step failed, tried again')),
  };
}

function runFor(runOnce: () => Promise<boolean>, onError: (error: unknown) => void): { close(): Promise<void> } {
  let closed = false;
  let wake: () => void = () => undefined;
  const loop = async () => {
    while (!closed) {
      await runOnce().catch(onError);
      if (closed) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, INTERVAL_MS).unref();
      });
    }
  };
  const running = loop();
  return {
    close: async () => {
      closed = true;
      wake();
      await running;
    },
  };
}

function bodyOf(row: RebuildRow | undefined): RebuildBody {
  if (row === undefined) return { id: null, state: 'none', started_at: null, replay: null, ended_at: null, detail: '' };
  const { id, state, started_at, replay, ended_at, detail } = row;
  return { id, state, started_at, replay, ended_at, detail };
}
