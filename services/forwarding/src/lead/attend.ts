// What goes on beside the feeds while a source is led: it beats, it settles, and it lets no feed hold up the others.
//
// What is confirmed to the slot, twice a second: everything before the least frontier of the feeds that read the log,
// after it was stored. A feed that reads the journal holds nothing back: its stored snapshot says what it lacks.
import type pg from 'pg';
import type { Checkpoint } from '../delivery/feed.ts';
import { type FeedProgress, storeProgress } from '../delivery/feeds.sql.ts';
import type { Feeds } from '../delivery/open-feeds.ts';
import { rfc3339 } from '../journal/journal-row.ts';
import { Misconfigured } from '../misconfigured.ts';
import type { System } from '../source/identify-system.ts';
import type { LogReader } from '../source/log-reader.ts';
import { earlier, parseSnapshot } from '../source/pg-snapshot.ts';
import type { Mark } from '../source/remembered.ts';
import type { Publication } from '../source/source.sql.ts';
import type { Intake } from '../tail/fill-tail.ts';
import type { Tail } from '../tail/tail.ts';
import { type Beat, openHeartbeat } from './heartbeat.ts';
import type { LeadOptions } from './lead.ts';
import type { TakenOver } from './take-over.ts';
import { openTelling } from './tell-readers.ts';

export interface AttendOptions extends LeadOptions {
  readonly client: pg.ClientBase;
  readonly system: System;
  readonly publication: Publication;
  readonly start: TakenOver;
  readonly reader: LogReader;
  readonly intake: Intake;
  readonly tail: Tail;
  readonly feeds: Feeds;
  /** Source's clock minus ours, ms; kept right here. */
  readonly clock: { offset: number };
}

export interface LastBeat {
  readonly beat: Beat;
  readonly at: Date;
  /** Of this beat, or of the last one that could write any. */
  readonly watermark: string | null;
}

export interface Attended {
  /** Never resolves: rejects with the first thing that ends the lead. */
  readonly failed: Promise<never>;
  lastBeat(): LastBeat | undefined;
  /** The last rows that were seen. */
  mark(): Mark;
  /** After the feeds were closed: stores the last positions, so that a restart repeats little. */
  end(): Promise<void>;
}

class LeadLost extends Error {}

const BEAT_MS = 1_000;
const SETTLE_MS = 500;
const WATCH_MS = 200;
/** Days are dropped hundreds of days later: nothing hangs on the seconds. */
const TELL_MS = 2_000;
/** A feed that has not moved for so long goes on from the journal when the reader waits for it, or the slot keeps so much. */
const HOLD_MS = 3_000;
const HOLD_BYTES = 48 * 1024 * 1024;
/** Kept until the slowest feed has passed them; feeds that far behind are cut loose long before. */
const MAX_CHECKPOINTS = 120;

export function attend(options: AttendOptions): Attended {
  const {
    source,
    knex,
    logger,
    nudged,
    warnings,
    client,
    system,
    publication,
    start,
    reader,
    intake,
    tail,
    feeds,
    clock,
  } = options;
  const failed = Promise.withResolvers<never>();
  const { state } = publication;
  const takeBeat = openHeartbeat({
    client,
    node: source.name,
    slot: source.slot,
    publication: source.publication,
    state,
  });
  const checkpoints: Checkpoint[] = [];
  let unproven: Checkpoint | undefined;
  /**
   * Nothing that it sees can be taken back by a crash of the source: a watermark was committed after it was taken. A transaction
   * id that was given out since, and came to nothing, may be given out again then, and to a payment.
   */
  let { lasting } = start;
  let last: LastBeat | undefined;
  let { watermark } = start.mark;
  let stored = true;
  let ended = false;

  /** Again and again, until the lead ends. */
  async function repeat(everyMs: number, work: () => Promise<void>): Promise<void> {
    while (!ended) {
      await work();
      await nudged.wait(everyMs);
    }
  }

  async function beat(): Promise<void> {
    const now = await takeBeat();
    const { timeline, generation } = now.history;
    if (now.history.system !== system.system || timeline !== system.timeline)
      throw new Error('another server answers for this source');
    if (generation !== start.generation) throw new Error(`the generation was raised to ${generation}`);
    if (now.publication.state !== state) throw publicationChanged(now.publication);
    const written = now.watermark === null ? null : rfc3339(now.watermark.value);
    last = { beat: now, at: new Date(), watermark: written ?? last?.watermark ?? null };
    if (written !== null) tail.wroteWatermark(written, now.checkpoint.at);
    clock.offset = now.clockOffset;
    watermark = now.watermark?.mark ?? watermark;
    warnings.set('watermarks_held', now.held);
    if (source.single_machine !== 'accepted') warnings.set('unguarded', now.unguarded);
    if (unproven !== undefined && written !== null) lasting = unproven.snapshot;
    // A checkpoint counts when the publication was still the same a beat later: nothing before it was left out.
    if (unproven !== undefined) checkpoints.push(unproven);
    if (checkpoints.length > MAX_CHECKPOINTS) checkpoints.shift();
    unproven = now.checkpoint;
  }

  /** Rows may be missing from the log since the last proven checkpoint: every feed goes back to it. */
  function publicationChanged({ wrong }: Publication): Error {
    const why = wrong ?? 'the publication was changed';
    for (const feed of feeds.all) feed.cutLoose(why);
    return wrong === null ? new Error(why) : new Misconfigured(wrong);
  }

  function mark(): Mark {
    return { watermark, event: intake.lastEvent() ?? start.mark.event };
  }

  /** Stores how far every feed is, and only then confirms it to the slot. */
  async function settle(): Promise<void> {
    const received = reader.received();
    const progress = feeds.all.map((feed) => ofLasting(feed.progress()));
    let safe = received;
    for (const { reading, frontier } of progress) if (reading === 'log') safe = Math.min(safe, frontier);
    const reached = Math.max(received, last?.beat.flushed ?? start.reached);
    const guarded = (last?.beat.unguarded ?? start.unguarded) === null;
    const storing = storeProgress(knex, source.name, start.epoch, { reached, mark: mark(), guarded }, progress);
    const wishes = await storing.catch(notStored);
    if (wishes === undefined) return;
    if (wishes.length < progress.length) throw new LeadLost('another forwarder has taken over');
    stored = true;
    reader.confirm(safe);
    for (const wish of wishes) feeds.all.find((feed) => feed.subscriber === wish.subscriber)?.follow(wish);
  }

  function ofLasting(progress: FeedProgress): FeedProgress {
    return { ...progress, snapshot: earlier(parseSnapshot(progress.snapshot), lasting).text };
  }

  /** Deliveries go on; the slot keeps what is not stored, up to its cap, and past that the journal has it. */
  function notStored(error: unknown): undefined {
    if (stored)
      logger.warn({ reason: error instanceof Error ? error.message : String(error) }, 'positions are not stored');
    stored = false;
  }

  /** No feed holds up the others, or the slot. Where the reader itself is behind, all of them wait for it. */
  function release(): void {
    for (const feed of feeds.all) {
      const frontier = feed.frontier();
      if (frontier === undefined || feed.waitingMs() < HOLD_MS) continue;
      if (intake.waits()) feed.cutLoose(`the log waited for it for ${HOLD_MS} ms`);
      else if (reader.received() - frontier > HOLD_BYTES) feed.cutLoose(`it held ${HOLD_BYTES} bytes of the log`);
    }
  }

  const works = [
    repeat(BEAT_MS, beat),
    repeat(SETTLE_MS, async () => {
      for (const feed of feeds.all) feed.keep(checkpoints);
      await settle();
    }),
    repeat(WATCH_MS, async () => {
      release();
      feeds.route?.look();
    }),
    repeat(TELL_MS, openTelling({ client, slot: source.slot, readers: () => feeds.all, logger, warnings })),
  ];
  for (const work of works) work.catch(failed.reject);
  failed.promise.catch(() => undefined); // whoever leads is told; it may be closing by then

  return {
    failed: failed.promise,
    lastBeat: () => last,
    mark,
    end: async () => {
      ended = true;
      await settle().catch(() => undefined); // without them a restart repeats more
    },
  };
}
