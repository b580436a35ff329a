// One subscriber's way through one source's log. It stands in one of two places, and goes back and forth between them:
//
//   log      the tail of the log in memory, from a cursor. The cursor holds the slot, and the tail's memory.
//   journal  everything that a kept snapshot of the database does not see is read from the journal, up to a new snapshot,
//            and again, until what is left is short enough for the tail. Holds nothing: neither slot nor memory. A feed
//            begins here; one that is slow or dead is cut loose to here; a rebuild, a lost slot, a pause lead here.
//
// While it is in the log its snapshot follows behind (a checkpoint a second), so leaving the log repeats about a second
// and loses nothing. Repeats are the consumer's to drop; it does so by (generation, version).
//
// Deliveries go one after the other: the next leaves when the last was stored, and its gaps were filled from the journal.
// So a watermark arrives after everything that stands before it.
import type { Logger } from '@ballast/telemetry';
import { openSignal } from '../signal.ts';
import { type DeliveryCounters, deliverInTurn } from './deliver-in-turn.ts';
import type { FeedProgress, StoredFeed, Wanted, Wish } from './feeds.sql.ts';
import type { Gap } from './journal.sql.ts';
import type { Journal } from './journal.ts';
import { openRate } from './rate.ts';
import type { Sender } from './send-delivery.ts';
import { parseSnapshot, SEES_NOTHING, type Snapshot } from './snapshot.ts';
import { isAfter, type LogPosition, type Tail } from './tail.ts';

export interface Checkpoint {
  readonly snapshot: Snapshot;
  /** The log position read after it: everything visible in it lies before. */
  readonly lsn: number;
  /** Source's clock, ms. */
  readonly at: number;
}

export interface FeedOptions {
  readonly name: string;
  readonly sender: Sender;
  /** What it delivers on; the topic is written in ascending order, a consumer of ours sorts it out. */
  readonly route: 'direct' | 'kafka';
  /** Not more than one delivery in so many ms: what comes meanwhile shares the next one, and the receiver's transaction. */
  readonly intervalMs: number;
  readonly stored: StoredFeed;
  /** The log is read from a position that this feed has reached. */
  readonly startsInLog: boolean;
  readonly tail: Tail;
  readonly journal: Journal;
  readonly logger: Logger;
  readonly counters: DeliveryCounters;
  /** Source's clock, ms. */
  now(): number;
}

export interface FeedStatus {
  readonly subscriber: string;
  readonly state: 'live' | 'catching_up' | 'failing' | 'paused' | 'disabled' | 'standing_by';
  readonly route: 'direct' | 'kafka';
  readonly reading: 'log' | 'journal';
  readonly lag_seconds: number;
  /** While catching up from the journal an estimate. */
  readonly pending_events: number;
  readonly events_per_second: number;
  readonly delivered_events: number;
  readonly open_gaps: number;
  readonly failing_since: string | null;
  readonly last_error: string | null;
  readonly rebuild: { readonly asked: number; readonly finished: number; readonly progress: number | null };
}

export interface Feed {
  readonly subscriber: string;
  progress(): FeedProgress;
  status(): FeedStatus;
  /** Does what people want meanwhile. */
  follow(wish: Wish): void;
  /** Kafka serves; when it does no more, deliveries go on from here, or from where this feed was, if that is later. */
  standBy(behind: { readonly snapshot: Snapshot; readonly at: number } | undefined): void;
  serve(): void;
  /** Delivers the whole journal again. */
  startOver(why: string): void;
  /** Sends what is missing, out of turn, as far as the journal has it. */
  fill(gaps: readonly Gap[]): Promise<number>;
  /** Everything visible in it was delivered. */
  kept(): { readonly snapshot: Snapshot; readonly at: number };
  /** Keeps the newest that its frontier has passed. */
  keep(checkpoints: readonly Checkpoint[]): void;
  /** Undefined: it reads the journal, and nothing of the log is kept for it. */
  frontier(): number | undefined;
  /** How long the first entry it has not delivered has been in the tail, ms; 0 without one. */
  waitingMs(): number;
  /** Sends it to the journal, so that the log can go on without it. */
  cutLoose(why: string): void;
  close(): Promise<void>;
}

type Reading = InLog | InJournal;
interface InLog {
  readonly from: 'log';
  cursor: number;
}
interface InJournal {
  readonly from: 'journal';
  blocks: number;
  blocksLeft: number;
  events: number;
}

const MOST_MESSAGES = 1_000;
const MOST_BYTES = 2 * 1024 * 1024;
/** A feed comes back to the log when no more than this is waiting there for it. */
const JOIN_WITHIN = 10_000;
const IDLE_WAIT_MS = 1_000;
const JOURNAL_WAIT_MS = 200;
const RETRY_MS = 1_000;

export function openFeed(options: FeedOptions): Feed {
  const { name, sender, route, intervalMs, stored, tail, journal, logger, counters, now } = options;
  const changed = openSignal();
  const rate = openRate();
  /** Kafka serves this subscriber. */
  let standingBy = false;
  let wanted: Wanted = stored.wanted;
  let rebuildsBegun = stored.rebuildsBegun;
  let rebuildsFinished = stored.snapshot === SEES_NOTHING.text ? stored.rebuildsBegun - 1 : stored.rebuildsBegun;
  let position: LogPosition = stored.position;
  let kept: { snapshot: Snapshot; at: number } = {
    snapshot: parseSnapshot(stored.snapshot),
    at: stored.coveredAt ?? now(),
  };
  let reading: Reading = options.startsInLog ? { from: 'log', cursor: tail.begin() } : inJournal();
  if (reading.from === 'log') tail.cursors.add(reading);
  let closed = false;
  let lastDelivery = Number.NEGATIVE_INFINITY;
  const delivery = deliverInTurn({ subscriber: name, sender, journal, logger, counters, changed, rate });

  function go(to: Reading): void {
    if (reading.from === 'log') tail.cursors.delete(reading);
    if (to.from === 'log') tail.cursors.add(to);
    reading = to;
    tail.released();
    changed.notify();
    tail.grew.notify();
  }

  const serves = () => !closed && wanted === 'on' && !standingBy;

  async function run(): Promise<void> {
    while (!closed) {
      try {
        if (wanted !== 'on' || standingBy) await changed.wait(IDLE_WAIT_MS);
        else if (reading.from === 'log') await readLog(reading);
        else await readJournal(reading);
      } catch (error) {
        // The journal could not be read: the source is away. Its log reader says so too; here it is only waited for.
        delivery.failed(error);
        await changed.wait(RETRY_MS);
      }
    }
  }

  async function readLog(here: InLog): Promise<void> {
    const still = () => serves() && reading === here;
    if (tail.pending(here.cursor) === 0) return tail.grew.wait(IDLE_WAIT_MS);
    const early = lastDelivery + intervalMs - performance.now();
    if (early > 0 && tail.pending(here.cursor) < MOST_MESSAGES) await changed.wait(early);
    if (!still()) return;
    const entries = tail.take(here.cursor, MOST_MESSAGES, MOST_BYTES);
    const last = entries[entries.length - 1];
    if (last === undefined) return;
    lastDelivery = performance.now();
    // The slot repeats whole transactions; what was delivered of them before a restart is passed over.
    const fresh = entries.filter((entry) => isAfter(entry, position)).map((entry) => entry.message);
    if (fresh.length > 0 && !(await delivery.deliver(fresh, still))) return;
    if (!still()) return; // cut loose meanwhile: the journal repeats it
    here.cursor += entries.length;
    if (isAfter(last, position)) position = last;
    tail.released();
  }

  async function readJournal(here: InJournal): Promise<void> {
    const still = () => serves() && reading === here;
    const since = kept.snapshot;
    const refill = await journal.refill(since, route === 'kafka');
    const place = tail.hold(refill.until.xmin);
    try {
      Object.assign(here, { blocks: refill.blocks, blocksLeft: refill.blocks, events: 0 });
      for await (const piece of refill.pieces()) {
        if (!(await delivery.deliver(piece.events, still))) return;
        here.blocksLeft = piece.blocksLeft;
        here.events += piece.events.length;
      }
      if (!(await delivery.deliver(refill.watermarks, still)) || !still()) return;
      here.blocksLeft = 0;
      kept = { snapshot: refill.until, at: refill.at };
      if (since.text === SEES_NOTHING.text) rebuildsFinished = rebuildsBegun;
      if (place !== undefined && !place.lost && tail.pending(place.cursor) <= JOIN_WITHIN) {
        position = tail.positionBefore(place.cursor);
        go({ from: 'log', cursor: place.cursor });
      }
    } finally {
      if (place !== undefined) tail.giveBack(place);
    }
    if (reading === here && here.events === 0) await changed.wait(JOURNAL_WAIT_MS);
  }

  function cutLoose(why: string): void {
    if (reading.from !== 'log') return;
    logger.warn({ subscriber: name, reason: why }, 'feed left the log; it goes on from the journal');
    go(inJournal());
  }

  function follow(wish: Wish): void {
    const before = wanted;
    wanted = wish.wanted;
    if (wish.rebuildsAsked > rebuildsBegun) {
      rebuildsBegun = wish.rebuildsAsked;
      startFrom({ snapshot: SEES_NOTHING, at: now() }, 'rebuild');
    }
    if (wanted === before) return;
    logger.info({ subscriber: name, wanted }, 'feed switched');
    if (wanted !== 'on') cutLoose(wanted);
    changed.notify();
  }

  function startFrom(start: typeof kept, why: string): void {
    kept = start;
    logger.info({ subscriber: name, reason: why }, 'feed starts over from the journal');
    go(inJournal());
  }

  function standBy(behind: typeof kept | undefined): void {
    // It is to have the whole journal (a rebuild, a new subscriber), which no topic holds: served directly until it has it.
    if (kept.snapshot.text === SEES_NOTHING.text) {
      serve();
      return;
    }
    if (!standingBy) {
      standingBy = true;
      cutLoose('Kafka serves');
    }
    if (behind !== undefined && behind.at > kept.at) kept = behind;
  }

  function serve(): void {
    if (!standingBy) return;
    standingBy = false;
    changed.notify();
  }

  async function fill(gaps: readonly Gap[]): Promise<number> {
    const events = await journal.fill(gaps);
    for (let at = 0; at < events.length; at += MOST_MESSAGES) await sender.send(events.slice(at, at + MOST_MESSAGES));
    return events.length;
  }

  function keep(checkpoints: readonly Checkpoint[]): void {
    const newest = checkpoints[checkpoints.length - 1];
    if (wanted === 'disabled' && newest !== undefined) kept = newest; // dropped: going on starts from here
    if (reading.from !== 'log') return;
    const frontier = tail.frontier(reading.cursor);
    for (const checkpoint of checkpoints) if (checkpoint.lsn <= frontier && checkpoint.at > kept.at) kept = checkpoint;
  }

  function status(): FeedStatus {
    const pending = pendingEvents();
    return {
      subscriber: name,
      state: stateNow(),
      route: standingBy ? 'kafka' : route,
      reading: reading.from,
      lag_seconds: Math.max(0, Math.round(lagMs())) / 1_000,
      pending_events: pending,
      events_per_second: rate.perSecond(),
      delivered_events: delivery.delivered(),
      open_gaps: delivery.openGaps(),
      failing_since: delivery.failure()?.since ?? null,
      last_error: delivery.failure()?.error ?? null,
      rebuild: {
        asked: rebuildsBegun,
        finished: rebuildsFinished,
        progress: rebuildsFinished < rebuildsBegun && reading.from === 'journal' ? shareDone(reading) : null,
      },
    };
  }

  function stateNow(): FeedStatus['state'] {
    if (wanted !== 'on') return wanted;
    if (standingBy) return 'standing_by';
    if (delivery.failure() !== null) return 'failing';
    return reading.from === 'log' ? 'live' : 'catching_up';
  }

  function lagMs(): number {
    if (standingBy) return 0;
    if (reading.from === 'journal') return now() - kept.at;
    const [first] = tail.take(reading.cursor, 1, 0);
    return first === undefined ? tail.silentMs() : now() - first.committedAt;
  }

  function pendingEvents(): number {
    if (reading.from === 'log') return tail.pending(reading.cursor);
    const done = reading.blocks - reading.blocksLeft;
    return done === 0 ? 0 : Math.round((reading.events / done) * reading.blocksLeft);
  }

  const running = run();
  return {
    subscriber: name,
    standBy,
    serve,
    startOver: (why) => startFrom({ snapshot: SEES_NOTHING, at: now() }, why),
    fill,
    kept: () => kept,
    progress: () => ({
      subscriber: name,
      reading: reading.from,
      position,
      frontier: reading.from === 'log' ? tail.frontier(reading.cursor) : 0,
      snapshot: kept.snapshot.text,
      coveredAt: kept.at,
      rebuildsBegun,
    }),
    status,
    follow,
    keep,
    frontier: () => (reading.from === 'log' ? tail.frontier(reading.cursor) : undefined),
    waitingMs: () => {
      const [first] = reading.from === 'log' ? tail.take(reading.cursor, 1, 0) : [];
      return first === undefined ? 0 : performance.now() - first.receivedAt;
    },
    cutLoose,
    close: async () => {
      closed = true;
      changed.notify();
      tail.grew.notify();
      await sender.close();
      await running;
    },
  };
}

function inJournal(): InJournal {
  return { from: 'journal', blocks: 0, blocksLeft: 0, events: 0 };
}

function shareDone({ blocks, blocksLeft }: InJournal): number {
  return blocks === 0 ? 0 : (blocks - blocksLeft) / blocks;
}
