// For orders whose events are gone (a day of the journal was lost, or orders were restored without it): each as one event
// that stands for all its versions (contracts: SNAPSHOT). An order and its journal are dropped together, so as long as there
// is an order, nothing about it is lost silently. Where events may be missing is found in three ways:
//
//   a day has orders and no journal   whoever reads the journal is given those of its orders whose row was written by
//                                     transactions that the reader's snapshot does not see: as it would be given the events
//   the whole journal is wanted       each order's events are counted, and those that have fewer than versions are added
//   a gap that the journal has not    the subscriber asked for it, and is given the order
//
// A snapshot is the order as it is now, so a live event may have been overtaken by it: the consumer drops that as a repeat.

import type { Gap } from '@ballast/contracts';
import type { OutgoingEvent } from '@ballast/events/kafka';
import type pg from 'pg';
import { type PgSnapshot, SEES_NOTHING } from '../source/pg-snapshot.ts';
import type { Piece } from './journal.ts';
import {
  type OrderDay,
  type OrderKey,
  readChanged,
  readIncomplete,
  readOrderDays,
  readSnapshots,
} from './order-snapshots.sql.ts';

export interface OrderSnapshots {
  /** The days in which something may have to be remade for a reader that has what `since` sees. */
  days(client: pg.ClientBase, since: PgSnapshot): Promise<readonly OrderDay[]>;
  pieces(days: readonly OrderDay[], since: PgSnapshot): AsyncGenerator<Piece>;
  /** Of the orders with a gap that `found` does not fill; `all`: it is all that the journal has of these gaps. */
  instead(gaps: readonly Gap[], found: readonly OutgoingEvent[], all: boolean): Promise<OutgoingEvent[]>;
}

export interface OrderSnapshotsOptions {
  withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>;
  eventOf(row: readonly (string | null)[]): OutgoingEvent;
}

/** Some 10,000 orders, whose events are counted in a tenth of a second. */
const RUN_BLOCKS = 512;
const MOST_EVENTS = 1_000;

export function openOrderSnapshots({ withClient, eventOf }: OrderSnapshotsOptions): OrderSnapshots {
  async function read(orders: readonly OrderKey[]): Promise<OutgoingEvent[]> {
    const rows = await withClient((client) => readSnapshots(client, orders));
    return rows.map(eventOf).map((event) => ({ ...event, id: `${event.id}:snapshot` }));
  }

  async function* pieces(days: readonly OrderDay[], since: PgSnapshot): AsyncGenerator<Piece> {
    let blocksLeft = blocksOf(days);
    for (const day of days)
      for (let from = 0; from < day.blocks; from += RUN_BLOCKS) {
        const to = Math.min(day.blocks, from + RUN_BLOCKS);
        const lacking = await withClient((client) =>
          day.hasJournal ? readIncomplete(client, day, [from, to]) : readChanged(client, day, [from, to], since),
        );
        blocksLeft -= to - from;
        for (let at = 0; at < lacking.length; at += MOST_EVENTS)
          yield { events: await read(lacking.slice(at, at + MOST_EVENTS)), blocksLeft };
      }
  }

  async function instead(
    gaps: readonly Gap[],
    found: readonly OutgoingEvent[],
    all: boolean,
  ): Promise<OutgoingEvent[]> {
    const versions = new Map<string, Set<number>>();
    for (const { order_id, version } of found)
      versions.set(order_id, (versions.get(order_id) ?? new Set()).add(version));
    const last = found.at(-1)?.order_id ?? '';
    const open = gaps.filter((gap) => (all || gap.order_id < last) && !isFilled(gap, versions.get(gap.order_id)));
    return open.length === 0 ? [] : read(open);
  }

  return {
    days: async (client, since) => {
      const days = await readOrderDays(client);
      return since.text === SEES_NOTHING.text ? days : days.filter((day) => !day.hasJournal);
    },
    pieces,
    instead,
  };
}

export function blocksOf(days: readonly OrderDay[]): number {
  return days.reduce((sum, day) => sum + day.blocks, 0);
}

function isFilled({ after_version, before_version }: Gap, versions: ReadonlySet<number> = new Set()): boolean {
  for (let version = after_version + 1; version < before_version; version++) if (!versions.has(version)) return false;
  return true;
}
