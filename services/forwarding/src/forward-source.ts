// Forwards one source for as long as the process lives. Only the holder of the replication slot forwards; a second
// forwarder is a standby that asks for the slot until it is free.
//
//   connect → check → slot → lead (read the log, feed subscribers, beat, settle) → on any error: again
//
// What is confirmed to the slot, twice a second: everything before the least frontier of the feeds that read the log,
// after it was stored. A feed that reads the journal holds nothing back: its stored snapshot says what it lacks.
import type { Knex } from '@ballast/database';
import type { KafkaConnection } from '@ballast/events/kafka';
import type { Logger } from '@ballast/telemetry';
import pg from 'pg';
import type { DeliveryCounters } from './delivery/deliver-in-turn.ts';
import type { Checkpoint, FeedStatus } from './delivery/feed.ts';
import { readFeeds, type StoredFeed, storeProgress, takeLead } from './delivery/feeds.sql.ts';
import type { Gap } from './delivery/journal.sql.ts';
import { openJournal } from './delivery/journal.ts';
import { type Feeds, KAFKA, openFeeds } from './delivery/open-feeds.ts';
import type { Route } from './delivery/route.ts';
import type { Subscriber } from './delivery/send-delivery.ts';
import { parseSnapshot, SEES_NOTHING } from './delivery/snapshot.ts';
import { openTail, type Tail } from './delivery/tail.ts';
import { openSignal } from './signal.ts';
import { ensureSlot } from './source/ensure-slot.ts';
import { fillTail } from './source/fill-tail.ts';
import { type Beat, connectSource, openHeartbeat } from './source/heartbeat.ts';
import { DATA_COLUMN } from './source/journal-row.ts';
import { type LogReader, openLogReader } from './source/log-reader.ts';
import { parseLsn } from './source/lsn.ts';
import {
  hasSlotCap,
  type Publication,
  readGeneration,
  readPublication,
  readSlot,
  takeXid,
} from './source/source.sql.ts';
import { openTelling } from './source/tell-readers.ts';

export interface Source {
  readonly name: string;
  readonly database_url: string;
  readonly slot: string;
  readonly publication: string;
}

export interface ForwardOptions {
  readonly source: Source;
  readonly instance: string;
  readonly subscribers: readonly Subscriber[];
  readonly kafka: KafkaConnection | undefined;
  /** Forwarding's own database. */
  readonly knex: Knex;
  readonly logger: Logger;
  readonly counters: DeliveryCounters;
}

export interface SourceStatus {
  readonly source: string;
  readonly state: 'connecting' | 'standby' | 'leading' | 'misconfigured' | 'waiting';
  readonly since: string;
  readonly reason: string | null;
  /** direct: also where there is no Kafka. */
  readonly route: Route;
  readonly received_events: number;
  readonly tail_events: number;
  readonly retained_bytes: number | null;
  readonly safe_bytes: number | null;
  readonly slot_status: string | null;
  readonly last_beat: string | null;
}

export interface Forwarding {
  status(): SourceStatus;
  feeds(): FeedStatus[];
  /** Sends a subscriber what it misses; resolves to the number of events, undefined when this instance does not lead. */
  fill(subscriber: string, gaps: readonly Gap[]): Promise<number | undefined>;
  /** Looks at once what people want, instead of within half a second. */
  nudge(): void;
  close(): Promise<void>;
}

const NO_FEEDS: Feeds = { all: [], route: undefined };

class Misconfigured extends Error {}
class LeadLost extends Error {}

const SLOT_IN_USE = '55006';
const SLOT_MISSING = '42704';
/** A standby takes over within 2 s of a crash. */
const STANDBY_RETRY_MS = 500;
const RETRY_MS = 1_000;
const MISCONFIGURED_RETRY_MS = 5_000;
const BEAT_MS = 1_000;
const SETTLE_MS = 500;
const WATCH_MS = 200;
/** Days are dropped hundreds of days later: nothing hangs on the seconds. */
const TELL_MS = 2_000;
/** The tail's room: about 20,000 events of 1.2 kB, a second's worth at the highest rate. */
const TAIL_BYTES = 32 * 1024 * 1024;
const TAIL_ENTRIES = 20_000;
/** A feed for which a full tail has waited this long, or the slot has kept this much, goes on from the journal. */
const HOLD_MS = 3_000;
const HOLD_BYTES = 48 * 1024 * 1024;
/** Kept until the slowest feed has passed them; feeds that far behind are cut loose long before. */
const MAX_CHECKPOINTS = 120;

export function forwardSource(options: ForwardOptions): Forwarding {
  const { source, instance, subscribers, kafka, knex, counters } = options;
  const names = [...subscribers.map(({ name }) => name), ...(kafka === undefined ? [] : [KAFKA])];
  const logger = options.logger.child({ source: source.name });
  const applicationName = `${instance} ${source.name}`;
  const nudged = openSignal();
  const closing = Promise.withResolvers<void>();
  let closed = false;
  let state: SourceStatus['state'] = 'connecting';
  let since = new Date();
  let reason: string | null = null;
  let receivedEvents = 0;
  let lastBeat: Beat | undefined;
  let beatAt: Date | undefined;
  let feeds: Feeds = NO_FEEDS;
  let tailNow: Tail | undefined;
  let stored = true;

  function become(next: SourceStatus['state'], why: string | null): void {
    if (next === state && why === reason) return;
    state = next;
    reason = why;
    since = new Date();
    const level = next === 'misconfigured' ? 'error' : next === 'waiting' ? 'warn' : 'info';
    logger[level]({ state, reason }, 'source state');
  }

  async function run(): Promise<void> {
    while (!closed) {
      try {
        await lead();
      } catch (error) {
        if (!closed) await pause(error);
      }
    }
  }

  async function pause(error: unknown): Promise<void> {
    const code = error instanceof pg.DatabaseError ? error.code : undefined;
    const why = error instanceof Error ? error.message : String(error);
    if (error instanceof Misconfigured) become('misconfigured', why);
    else if (code === SLOT_IN_USE) become('standby', 'another forwarder holds the slot');
    else become('waiting', why);
    const waitMs =
      error instanceof Misconfigured ? MISCONFIGURED_RETRY_MS : code === SLOT_IN_USE ? STANDBY_RETRY_MS : RETRY_MS;
    if (code !== SLOT_MISSING) await Promise.race([nudged.wait(waitMs), closing.promise]);
  }

  async function lead(): Promise<void> {
    await using opened = new AsyncDisposableStack();
    const client = opened.adopt(await connectSource(source.database_url, applicationName), (it) => it.end());
    const publication = await check(client);
    await ensureSlot(client, source.slot, logger);
    const intake = fillTail(source.name, () => receivedEvents++);
    const reader = opened.adopt(
      await openLogReader({
        connectionString: source.database_url,
        applicationName,
        slot: source.slot,
        publication: source.publication,
        keptAsBytes: DATA_COLUMN,
        onMessage: intake.onMessage,
        onProgress: intake.onProgress,
      }),
      (it) => it.close(),
    );
    const start = await takeOver(client, reader, publication);
    const tail = openTail({ maxBytes: TAIL_BYTES, maxEntries: TAIL_ENTRIES, ...start });
    const journal = opened.adopt(
      openJournal({
        source: source.name,
        connectionString: source.database_url,
        applicationName,
        generation: start.generation,
      }),
      (it) => it.close(),
    );
    let clockOffset = 0;
    const now = () => Date.now() + clockOffset;
    feeds = openFeeds({ stored: start.stored, subscribers, kafka, tail, journal, logger, counters, now });
    opened.defer(async () => {
      await Promise.all(feeds.all.map((feed) => feed.close()));
      // The last positions, so that a restart repeats little; without them it repeats more.
      await settle(reader, start.epoch).catch(() => undefined);
      feeds = NO_FEEDS;
      tailNow = undefined;
    });
    tailNow = tail;
    intake.begin(tail, start.generation, reader, now);
    become('leading', null);

    const beat = openHeartbeat({ client, node: source.name, slot: source.slot, publication: source.publication });
    const checkpoints: Checkpoint[] = [];
    let unproven: Checkpoint | undefined;
    const beating = repeat(BEAT_MS, async () => {
      lastBeat = await beat();
      beatAt = new Date();
      clockOffset = lastBeat.clockOffset;
      // A checkpoint counts when the publication was still the same a beat later: nothing before it was left out.
      if (lastBeat.publication.state !== publication.state) throw publicationChanged(lastBeat.publication);
      if (unproven !== undefined) checkpoints.push(unproven);
      if (checkpoints.length > MAX_CHECKPOINTS) checkpoints.shift();
      unproven = lastBeat.checkpoint;
    });
    const settling = repeat(SETTLE_MS, async () => {
      for (const feed of feeds.all) feed.keep(checkpoints);
      await settle(reader, start.epoch);
    });
    const watching = repeat(WATCH_MS, async () => {
      release(tail, checkpoints[checkpoints.length - 1]);
      feeds.route?.look();
    });
    const telling = repeat(TELL_MS, openTelling({ client, slot: source.slot, readers: () => feeds.all, logger }));
    await Promise.race([reader.ended, beating, settling, watching, telling, closing.promise]);
  }

  /** Rows may be missing from the log since the last proven checkpoint: every feed goes back to it. */
  function publicationChanged({ wrong }: Publication): Error {
    const why = wrong ?? 'the publication was changed';
    for (const feed of feeds.all) feed.cutLoose(why);
    return wrong === null ? new Error(why) : new Misconfigured(wrong);
  }

  async function check(client: pg.ClientBase): Promise<Publication> {
    const publication = await readPublication(client, source.publication);
    if (publication.wrong !== null) throw new Misconfigured(publication.wrong);
    if (!(await hasSlotCap(client)))
      throw new Misconfigured('max_slot_wal_keep_size is unlimited: a dead forwarder would fill the payment disk');
    return publication;
  }

  /** After the slot is ours: what its position, and the stored ones, are worth. */
  async function takeOver(client: pg.ClientBase, reader: LogReader, publication: Publication) {
    const barrierXid = await takeXid(client);
    const slot = await readSlot(client, source.slot);
    const start = parseLsn(slot?.confirmed ?? '0/0');
    const generation = await readGeneration(client);
    const log = { ...reader.system, publication: publication.state };
    const { epoch, before } = await takeLead(knex, source.name, instance, log);
    const found = await readFeeds(knex, source.name, names);
    const sameCluster = before === null || before.system === log.system;
    const sameTimeline = before === null || before.timeline === log.timeline;
    const samePublication = before === null || before.publication === log.publication;
    return {
      start,
      barrierXid,
      generation,
      epoch,
      stored: found.map((feed) => {
        const wasInLog = feed.reading === 'log' && feed.frontier >= start;
        const inLog = wasInLog && sameCluster && samePublication && feed.wanted === 'on';
        // A snapshot of another history, or from the future of a restored database, says nothing about this one.
        const known = sameCluster && (sameTimeline || wasInLog) && parseSnapshot(feed.snapshot).xmax <= barrierXid + 1;
        return { feed: known ? feed : startedOver(feed), startsInLog: inLog && known };
      }),
    };
  }

  function startedOver(feed: StoredFeed): StoredFeed {
    logger.warn(
      { subscriber: feed.subscriber },
      'the source has another history: the whole journal is delivered again',
    );
    return { ...feed, reading: 'journal', snapshot: SEES_NOTHING.text };
  }

  /** Stores how far every feed is, and only then confirms it to the slot. */
  async function settle(reader: LogReader, epoch: bigint): Promise<void> {
    let safe = reader.received();
    const progress = feeds.all.map((feed) => feed.progress());
    for (const { reading, frontier } of progress) if (reading === 'log') safe = Math.min(safe, frontier);
    try {
      const wishes = await storeProgress(knex, source.name, epoch, progress);
      if (wishes.length < progress.length) throw new LeadLost('another forwarder has taken over');
      stored = true;
      reader.confirm(safe);
      for (const wish of wishes) feeds.all.find((feed) => feed.subscriber === wish.subscriber)?.follow(wish);
    } catch (error) {
      if (error instanceof LeadLost) throw error;
      // Deliveries go on; the slot keeps what is not stored, up to its cap, and past that the journal has it.
      if (stored)
        logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'positions are not stored');
      stored = false;
    }
  }

  function release(tail: Tail, newest: Checkpoint | undefined): void {
    for (const feed of feeds.all) {
      const frontier = feed.frontier();
      if (frontier === undefined) continue;
      if (tail.isFull() && feed.waitingMs() > HOLD_MS) feed.cutLoose(`it held a full tail for ${HOLD_MS} ms`);
      else if (newest !== undefined && newest.lsn - frontier > HOLD_BYTES)
        feed.cutLoose(`it held ${HOLD_BYTES} bytes of the log`);
    }
  }

  /** Again and again, until the lead ends; rejects with the first error. */
  async function repeat(everyMs: number, work: () => Promise<void>): Promise<void> {
    const led = since;
    while (!closed && led === since) {
      await work();
      await nudged.wait(everyMs);
    }
  }

  const running = run();
  return {
    status: () => ({
      source: source.name,
      state,
      since: since.toISOString(),
      reason,
      route: feeds.route?.route() ?? 'direct',
      received_events: receivedEvents,
      tail_events: tailNow?.pending(tailNow.begin()) ?? 0,
      retained_bytes: lastBeat?.slot ? Number(lastBeat.slot.retained_bytes) : null,
      safe_bytes: lastBeat?.slot?.safe_bytes == null ? null : Number(lastBeat.slot.safe_bytes),
      slot_status: lastBeat?.slot?.wal_status ?? null,
      last_beat: beatAt?.toISOString() ?? null,
    }),
    feeds: () => feeds.all.map((feed) => feed.status()),
    fill: async (subscriber, gaps) => feeds.all.find((feed) => feed.subscriber === subscriber)?.fill(gaps),
    nudge: () => nudged.notify(),
    close: async () => {
      closed = true;
      closing.resolve();
      nudged.notify();
      await running;
    },
  };
}
