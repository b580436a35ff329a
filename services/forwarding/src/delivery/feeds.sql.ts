// Every statement on forwarding's own database. Deliveries go on without it, and nobody waits for a machine that is gone.
import type { TopicPlace } from '@ballast/events/kafka';
import type { Knex } from 'knex';
import { formatLsn, parseLsn } from '../source/lsn.ts';
import type { Mark, Remembered } from '../source/remembered.ts';
import type { LogPosition } from '../tail/tail.ts';

export type Wanted = 'on' | 'paused' | 'disabled';

export interface StoredFeed {
  readonly subscriber: string;
  readonly wanted: Wanted;
  /** Since it was disabled, and not rebuilt: it lacks what was dropped. */
  readonly dropped: boolean;
  readonly reading: 'log' | 'journal';
  readonly position: LogPosition;
  readonly frontier: number;
  readonly snapshot: string;
  readonly coveredAt: number | null;
  /** What the topic has acknowledged; null: it is no topic's feed, or nothing was published yet. */
  readonly published: TopicPlace | null;
  /** Of watermarks (contracts: Watermark). */
  readonly run: string;
  /** The last one acknowledged; null: the run has yet to begin. */
  readonly watermark: string | null;
  readonly rebuildsAsked: number;
  readonly rebuildsBegun: number;
}

/** What is remembered of a source between leads: which history it was in, and how far that was known. */
export interface RememberedSource extends Omit<Remembered, 'xmax'> {
  /** Another one after every change: what was written meanwhile may be missing from the log. */
  readonly publication: string;
}

/** The server's own limit of 5 s comes first; beyond it the server is not there any more, and the connection is given up. */
const SILENT_MS = 6_000;

async function raw<T>(knex: Knex, text: string, values: readonly Knex.RawBinding[]): Promise<T> {
  return knex.raw(text, values).timeout(SILENT_MS);
}

/** Null: nobody has led this source. */
export async function readLead(knex: Knex, source: string): Promise<RememberedSource | null> {
  const { rows } = await raw<{
    rows: {
      system: string;
      timeline: number;
      generation: number;
      publication: string;
      mark: Mark;
      reached: string;
      guarded: boolean;
    }[];
  }>(
    knex,
    `select system_identifier as system, timeline, generation, publication_state as publication, mark,
       reached::text, guarded
     from source_lead where source = ?`,
    [source],
  );
  const row = rows[0];
  if (row === undefined) return null;
  return { ...row, reached: parseLsn(row.reached) };
}

/**
 * Takes over a source whose slot this forwarder holds: nobody of an older epoch can write positions any more. `doubted`:
 * feeds that go on from the journal, with so much. Together with the rest: whoever comes next finds a source that is as
 * it was remembered, and believes what is stored here. Locks the source's row, then theirs, as storeProgress does.
 */
export async function takeLead(
  knex: Knex,
  source: string,
  instance: string,
  known: RememberedSource,
  doubted: readonly { readonly subscriber: string; readonly snapshot: string }[],
): Promise<bigint> {
  const { rows } = await raw<{ rows: { epoch: bigint }[] }>(
    knex,
    `with lead as (
       insert into source_lead as l (source, epoch, instance, system_identifier, timeline, generation,
         publication_state, mark, reached, guarded)
       values (?, 1, ?, ?, ?, ?, ?, ?, ?, ?)
       on conflict (source) do update set epoch = l.epoch + 1, instance = excluded.instance, taken_at = clock_timestamp(),
         system_identifier = excluded.system_identifier, timeline = excluded.timeline, generation = excluded.generation,
         publication_state = excluded.publication_state, mark = excluded.mark,
         reached = excluded.reached, guarded = excluded.guarded
       returning source, epoch
     ), doubted as (
       update subscriber_feed f set reading = 'journal', snapshot = i.snapshot, updated_at = clock_timestamp()
       from lead, unnest(?::text[], ?::pg_snapshot[]) as i(subscriber, snapshot)
       where f.source = lead.source and f.subscriber = i.subscriber
     )
     select epoch from lead`,
    [
      source,
      instance,
      known.system,
      known.timeline,
      known.generation,
      known.publication,
      JSON.stringify(known.mark),
      formatLsn(known.reached),
      known.guarded,
      doubted.map(({ subscriber }) => subscriber),
      doubted.map(({ snapshot }) => snapshot),
    ],
  );
  const row = rows[0];
  if (row === undefined) throw new Error('BUG: an upsert returned nothing');
  return row.epoch;
}

/**
 * Makes the rows of subscribers seen for the first time: they start at the beginning of the journal. All of the source's:
 * one that is configured no more may be again.
 */
export async function readFeeds(knex: Knex, source: string, subscribers: readonly string[]): Promise<StoredFeed[]> {
  await raw(
    knex,
    'insert into subscriber_feed (source, subscriber) select ?, unnest(?::text[]) on conflict do nothing',
    [source, [...subscribers]],
  );
  const { rows } = await raw<{
    rows: {
      subscriber: string;
      wanted: Wanted;
      dropped: boolean;
      reading: 'log' | 'journal';
      lsn: string;
      index_in_transaction: bigint;
      frontier: string;
      snapshot: string;
      covered_at: Date | null;
      run: string;
      watermark: string | null;
      published: TopicPlace | null;
      rebuilds_asked: number;
      rebuilds_begun: number;
    }[];
  }>(
    knex,
    `select subscriber, wanted, dropped, reading, lsn::text, index_in_transaction, frontier::text, snapshot::text, covered_at,
       run, watermark, published, rebuilds_asked, rebuilds_begun
     from subscriber_feed where source = ?`,
    [source],
  );
  return rows.map((row) => ({
    subscriber: row.subscriber,
    wanted: row.wanted,
    dropped: row.dropped,
    reading: row.reading,
    position: { lsn: parseLsn(row.lsn), index: Number(row.index_in_transaction) },
    frontier: parseLsn(row.frontier),
    snapshot: row.snapshot,
    coveredAt: row.covered_at?.getTime() ?? null,
    run: row.run,
    watermark: row.watermark,
    published: row.published,
    rebuildsAsked: row.rebuilds_asked,
    rebuildsBegun: row.rebuilds_begun,
  }));
}

export type FeedProgress = Omit<StoredFeed, 'wanted' | 'dropped' | 'rebuildsAsked' | 'coveredAt'> & {
  readonly coveredAt: number;
};

/** What people want of a feed meanwhile. */
export interface Wish {
  readonly subscriber: string;
  readonly wanted: Wanted;
  readonly dropped: boolean;
  readonly rebuildsAsked: number;
}

/** How far the source is known, besides the feeds. */
export interface Reach {
  readonly reached: number;
  readonly mark: Mark;
  readonly guarded: boolean;
}

/** Stores how far each feed is, if this epoch still leads; empty: it does not. Locks the source's row. */
export async function storeProgress(
  knex: Knex,
  source: string,
  epoch: bigint,
  { reached, mark, guarded }: Reach,
  feeds: readonly FeedProgress[],
): Promise<Wish[]> {
  const { rows } = await raw<{
    rows: { subscriber: string; wanted: Wanted; dropped: boolean; rebuilds_asked: number }[];
  }>(
    knex,
    `with lead as (
       update source_lead set reached = ?, mark = ?, guarded = ?
       where source = ? and epoch = ? returning source
     )
     update subscriber_feed f set reading = i.reading, lsn = i.lsn, index_in_transaction = i.index_in_transaction,
       frontier = i.frontier, snapshot = i.snapshot, covered_at = to_timestamp(i.covered_at / 1000), run = i.run, watermark = i.watermark,
       published = i.published,
       rebuilds_begun = i.rebuilds_begun, updated_at = clock_timestamp()
     from lead, unnest(?::text[], ?::text[], ?::pg_lsn[], ?::bigint[], ?::pg_lsn[], ?::pg_snapshot[], ?::float8[],
         ?::uuid[], ?::text[], ?::jsonb[], ?::int[])
       as i(subscriber, reading, lsn, index_in_transaction, frontier, snapshot, covered_at, run, watermark, published,
         rebuilds_begun)
     where f.source = lead.source and f.subscriber = i.subscriber
     returning f.subscriber, f.wanted, f.dropped, f.rebuilds_asked`,
    [
      formatLsn(reached),
      JSON.stringify(mark),
      guarded,
      source,
      epoch.toString(),
      feeds.map((feed) => feed.subscriber),
      feeds.map((feed) => feed.reading),
      feeds.map((feed) => formatLsn(feed.position.lsn)),
      feeds.map((feed) => feed.position.index),
      feeds.map((feed) => formatLsn(feed.frontier)),
      feeds.map((feed) => feed.snapshot),
      feeds.map((feed) => feed.coveredAt),
      feeds.map((feed) => feed.run),
      feeds.map((feed) => feed.watermark) as string[], // knex knows of no null in an array
      feeds.map((feed) => (feed.published === null ? null : JSON.stringify(feed.published))) as string[],
      feeds.map((feed) => feed.rebuildsBegun),
    ],
  );
  return rows.map(({ rebuilds_asked: rebuildsAsked, ...wish }) => ({ ...wish, rebuildsAsked }));
}

/** For all sources; any instance may write it, the one that leads follows. False: no such subscriber. */
export async function storeWanted(knex: Knex, subscriber: string, wanted: Wanted): Promise<boolean> {
  const { rows } = await raw<{ rows: unknown[] }>(
    knex,
    `update subscriber_feed set wanted = ?, dropped = dropped or ? where subscriber = ? returning 1`,
    [wanted, wanted === 'disabled', subscriber],
  );
  return rows.length > 0;
}

/** To be delivered to, by every source; also before anybody has led one. */
export async function isWanted(knex: Knex, subscriber: string): Promise<boolean> {
  const { rows } = await raw<{ rows: { wanted: boolean }[] }>(
    knex,
    `select not exists (select from subscriber_feed where subscriber = ? and wanted <> 'on') as wanted`,
    [subscriber],
  );
  return rows[0]?.wanted ?? true;
}

export async function askForRebuild(knex: Knex, subscriber: string): Promise<boolean> {
  const { rows } = await raw<{ rows: unknown[] }>(
    knex,
    'update subscriber_feed set rebuilds_asked = rebuilds_asked + 1, dropped = false where subscriber = ? returning 1',
    [subscriber],
  );
  return rows.length > 0;
}
