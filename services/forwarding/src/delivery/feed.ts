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
// So a watermark arrives after everything that stands before it, and says what that is (run.ts).
//
// The feed of a subscriber that reads the topic stands by while Kafka serves. It asks once a second how far the subscriber
// is, and its snapshot follows behind that: when the feed has to serve, it begins where the subscriber really is, whatever
// Kafka acknowledged and the subscriber has not read.
import type { DeliveryReply, Gap, Progress, Replaced } from '@ballast/contracts';
import type { Logger } from '@ballast/telemetry';
import type { Journal } from '../journal/journal.ts';
import { pauseAfterRound } from '../journal/open-transaction.ts';
import { openSignal } from '../signal.ts';
import { type PgSnapshot, parseSnapshot, SEES_NOTHING } from '../source/pg-snapshot.ts';
import { isAfter, type LogPosition, type Place, type Tail } from '../tail/tail.ts';
import { type DeliveryCounters, deliverInTurn } from './deliver-in-turn.ts';
import { describeFeed, type FeedStatus } from './feed-status.ts';
import type { FeedProgress, StoredFeed, Wish } from './feeds.sql.ts';
import { watchProgress } from './left-behind.ts';
import { observeDelays } from './observe-delays.ts';
import { openRate } from './rate.ts';
import { type InJournal, type InLog, inJournal, type Reading, wasRead } from './reading.ts';
import { refillFeed } from './refill-feed.ts';
import { beginsAt, type Kept, openRun } from './run.ts';
import type { Sender } from './send-delivery.ts';
import { openWishes } from './wishes.ts';

export interface Checkpoint {
  readonly snapshot: PgSnapshot;
  /** The log position read after it: everything visible in it lies before. */
  readonly lsn: number;
  /** Source's clock, ms. */
  readonly at: number;
}

export interface FeedOptions {
  readonly name: string;
  readonly source: string;
  readonly generation: number;
  readonly replaced: readonly Replaced[];
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
  /** A transaction with this id has been open since before the last round of reading the journal. */
  onHeldUp(xid: number): void;
  /** Source's clock, ms. */
  now(): number;
}

export interface Feed {
  readonly subscriber: string;
  progress(): FeedProgress;
  status(): FeedStatus;
  /** Does what people want meanwhile. */
  follow(wish: Wish): void;
  /** Kafka serves, and the subscriber has kept up with it but for so long. */
  standBy(lateMs: number): void;
  serve(): void;
  /** Delivers the whole journal again. */
  startOver(why: string): void;
  /** Sends what is missing, out of turn, as far as the journal has it. */
  fill(gaps: readonly Gap[]): Promise<number>;
  /** Everything visible in it was delivered. */
  kept(): Kept;
  /** What the subscriber last said of itself; undefined: nothing yet, or of another generation. */
  heard(): Progress | undefined;
  /** When it last took anything (monotonic clock, ms), and the last watermark that it took. */
  acknowledged(): { readonly at: number; readonly watermark: string | null };
  /** Keeps the newest that its frontier has passed. */
  keep(checkpoints: readonly Checkpoint[]): void;
  /** Undefined: it reads the journal, and nothing of the log is kept for it. */
  frontier(): number | undefined;
  /** How long the first entry it has not delivered has waited for it in the tail, ms; 0 without one. */
  waitingMs(): number;
  /** Sends it to the journal, so that the log can go on without it. */
  cutLoose(why: string): void;
  close(): Promise<void>;
}

const MOST_MESSAGES = 1_000;
const MOST_BYTES = 2 * 1024 * 1024;
const IDLE_WAIT_MS = 1_000;
const RETRY_MS = 1_000;
const ASK_EVERY_MS = 1_000;

export function openFeed(options: FeedOptions): Feed {
  const { name, source, generation, replaced, sender, route, intervalMs, stored } = options;
  const { tail, journal, logger, counters, now } = options;
  const changed = openSignal();
  const rate = openRate();
  const delays = counters.delays.labels({ subscriber: name });
  const wishes = openWishes(stored);
  /** Kafka serves this subscriber. */
  let standingBy = false;
  let lateMs = 0;
  let position: LogPosition = stored.position;
  let kept: Kept = { snapshot: parseSnapshot(stored.snapshot), at: stored.coveredAt ?? now() };
  let reading: Reading = options.startsInLog
    ? { from: 'log', cursor: tail.begin(), since: performance.now(), joinedWith: undefined }
    : inJournal(null, tail);
  if (reading.from === 'log') tail.cursors.add(reading);
  let closed = false;
  let lastDelivery = Number.NEGATIVE_INFINITY;
  const onReply = ({ progress }: DeliveryReply) => leftBehind.onReply(progress);
  const delivery = deliverInTurn({ subscriber: name, sender, journal, logger, counters, changed, rate, onReply });
  const leftBehind = watchProgress({ source, generation, replaced, now: () => performance.now() });
  const run = openRun({
    source,
    generation,
    replaced,
    run: stored.run,
    acknowledged: stored.watermark,
    tail,
    delivery,
  });

  function go(to: Reading): void {
    if (reading.from === 'log') tail.cursors.delete(reading);
    if (to.from === 'log') tail.cursors.add(to);
    reading = to;
    tail.released();
    changed.notify();
    tail.grew.notify();
  }

  const serves = () => !closed && wishes.wanted() === 'on' && !standingBy;

  async function goOn(): Promise<void> {
    while (!closed) {
      try {
        if (wishes.wanted() !== 'on') await changed.wait(IDLE_WAIT_MS);
        else if (standingBy) await askHowFar();
        else if (await takeBack()) continue;
        else if (reading.from === 'log') await readLog(reading);
        else await readJournal(reading);
      } catch (error) {
        // The journal could not be read (the source is away, and its log reader says so too), or nobody answered.
        delivery.failed(error);
        await changed.wait(RETRY_MS);
      }
    }
  }

  async function askHowFar(): Promise<void> {
    await delivery.ask(() => standingBy && wishes.wanted() === 'on' && !closed);
    await changed.wait(ASK_EVERY_MS);
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
    const fresh = entries.filter((entry) => isAfter(entry, position) && !wasRead(entry, here));
    const messages = fresh.map((entry) => entry.message);
    if (!(await run.deliver(messages, kept, still))) return;
    if (!still()) return; // cut loose meanwhile: the journal repeats it
    observeDelays(delays, fresh, now());
    here.cursor += entries.length;
    if (isAfter(last, position)) position = last;
    tail.released();
  }

  async function readJournal(here: InJournal): Promise<void> {
    const still = () => serves() && reading === here;
    const began = performance.now();
    const since = kept.snapshot;
    const ascending = route === 'kafka';
    const onThrough = (through: Kept, place: Place | undefined) => {
      kept = through;
      if (since.text === SEES_NOTHING.text) wishes.rebuilt();
      if (place === undefined || !tail.isNear(place, now())) return;
      position = tail.positionBefore(place.cursor);
      go({ from: 'log', cursor: place.cursor, since: performance.now(), joinedWith: through.snapshot });
    };
    const read = await refillFeed({ journal, tail, run, kept: () => kept, ascending, here, still, onThrough });
    if (read === undefined || reading !== here) return;
    const isHeldUp = kept.snapshot.xmin === since.xmin;
    if (isHeldUp) options.onHeldUp(since.xmin);
    const pauseMs = pauseAfterRound({ isHeldUp, events: read.events, tookMs: performance.now() - began });
    if (pauseMs > 0) await changed.wait(pauseMs);
  }

  function cutLoose(why: string): void {
    if (reading.from !== 'log') return;
    logger.warn({ subscriber: name, reason: why }, 'feed left the log; it goes on from the journal');
    go(inJournal(tail.pending(reading.cursor), tail));
  }

  function follow(wish: Wish): void {
    const { switched, rebuild } = wishes.follow(wish);
    if (rebuild) startOver('rebuild');
    if (!switched) return;
    const { wanted } = wish;
    logger.info({ subscriber: name, wanted }, 'feed switched');
    if (wanted !== 'on') cutLoose(wanted);
    changed.notify();
  }

  function startOver(why: string): void {
    startFrom({ snapshot: SEES_NOTHING, at: now() }, why);
  }

  function startFrom(start: Kept, why: string): void {
    keepFrom(start);
    logger.info({ subscriber: name, reason: why }, 'feed starts over from the journal');
    go(inJournal(null, tail));
  }

  /** To where the subscriber says it is, if it proves nothing of what it is given; not to what was dropped for it. */
  async function takeBack(): Promise<boolean> {
    const here = reading;
    const has = wishes.dropped() ? undefined : leftBehind.since(run.acknowledged().watermark);
    if (has === undefined) return false;
    const start = await journal.before(has);
    if (reading === here && serves())
      startFrom(start ?? { snapshot: SEES_NOTHING, at: now() }, `it proves no more than ${has}`);
    leftBehind.takenBack();
    return true;
  }

  /** The subscriber has, or is not to have, what comes before it: deliveries begin there. */
  function keepFrom(start: Kept): void {
    kept = start;
    run.beginAnew();
    if (reading.from === 'journal') Object.assign(reading, { lacked: 0, brought: tail.brought() });
  }

  function standBy(late: number): void {
    lateMs = late;
    // It is to have the whole journal (a rebuild, a new subscriber), which no topic holds: served directly until it has it.
    if (kept.snapshot.text === SEES_NOTHING.text) {
      serve();
      return;
    }
    if (standingBy) return;
    standingBy = true;
    cutLoose('Kafka serves');
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
    // Dropped: going on starts from here. But a rebuild that was begun is delivered whole, whenever it goes on.
    const { begun, finished } = wishes.rebuilds();
    if (wishes.wanted() === 'disabled' && newest !== undefined && finished === begun) keepFrom(newest);
    const value = leftBehind.heard()?.value;
    if (standingBy && value !== undefined) {
      const has = checkpoints.findLast((checkpoint) => checkpoint.at > kept.at && beginsAt(checkpoint) <= value);
      if (has !== undefined) keepFrom(has);
    }
    if (reading.from !== 'log') return;
    const frontier = tail.frontier(reading.cursor);
    for (const checkpoint of checkpoints) if (checkpoint.lsn <= frontier && checkpoint.at > kept.at) kept = checkpoint;
  }

  function status(): FeedStatus {
    const standingByLateMs = standingBy ? lateMs : undefined;
    const proven = leftBehind.heard()?.value ?? null;
    const seen = { subscriber: name, route, wishes, reading, tail, delivery, rate, proven };
    return describeFeed({ ...seen, standingByLateMs, keptAt: kept.at, now: now() });
  }

  const running = goOn();
  return {
    subscriber: name,
    standBy,
    serve,
    startOver,
    fill,
    kept: () => kept,
    heard: leftBehind.heard,
    acknowledged: () => ({ at: delivery.acknowledgedAt(), watermark: run.acknowledged().watermark }),
    progress: () => ({
      subscriber: name,
      reading: reading.from,
      position,
      frontier: reading.from === 'log' ? tail.frontier(reading.cursor) : 0,
      snapshot: kept.snapshot.text,
      coveredAt: kept.at,
      ...run.acknowledged(),
      published: sender.published(),
      rebuildsBegun: wishes.rebuilds().begun,
    }),
    status,
    follow,
    keep,
    frontier: () => (reading.from === 'log' ? tail.frontier(reading.cursor) : undefined),
    waitingMs: () => (reading.from === 'log' ? tail.waitingMs(reading.cursor, reading.since) : 0),
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
