// Leads one source: reads its log, feeds its subscribers, beats and settles, until something ends it. Only the holder of
// the replication slot leads. Whatever ends a lead, the next one begins by looking at everything anew.
//
//   connect → check → slot → take over → feed (and attend to it)

import { type Feeds, KAFKA, openFeeds } from '../delivery/open-feeds.ts';
import { openJournal } from '../journal/journal.ts';
import { DATA_COLUMN } from '../journal/journal-row.ts';
import { Misconfigured } from '../misconfigured.ts';
import type { Signal } from '../signal.ts';
import { connectPrimary, disconnect, type Primary } from '../source/connect.ts';
import { ensureSlot } from '../source/ensure-slot.ts';
import { openLogReader } from '../source/log-reader.ts';
import { findUnguarded, hasSlotCap, type Publication, readPublication } from '../source/source.sql.ts';
import { fillTail } from '../tail/fill-tail.ts';
import { openTail, type Tail } from '../tail/tail.ts';
import type { Warnings } from '../warnings.ts';
import { attend, type LastBeat } from './attend.ts';
import type { ForwardOptions } from './forward-source.ts';
import { type Seen, takeOver } from './take-over.ts';

/** What is seen of a lead from outside. */
export interface Leading {
  readonly feeds: Feeds;
  readonly tail: Tail;
  readonly lastBeat: LastBeat | undefined;
  readonly seen: Seen;
}

export interface LeadOptions extends ForwardOptions {
  /** Ends it without an error. */
  readonly closing: Promise<void>;
  /** People want something: looked at once. */
  readonly nudged: Signal;
  readonly warnings: Warnings;
  /** This process has led before: what would refuse a start is a warning by now. */
  readonly again: boolean;
  /** When it led last. */
  readonly seen: Seen | undefined;
  onEvent(): void;
  onLeading(leading: Leading): void;
}

/** The tail's room: about 20,000 events of 1.2 kB, a second's worth at the highest rate. */
const TAIL_BYTES = 32 * 1024 * 1024;
const TAIL_ENTRIES = 20_000;

/** Resolves when `closing` does; rejects with whatever else ends it. */
export async function lead(options: LeadOptions): Promise<void> {
  const { source, instance, subscribers, kafka, logger, counters, warnings } = options;
  const names = [...subscribers.map(({ name }) => name), ...(kafka === undefined ? [] : [KAFKA])];
  const applicationName = `${instance} ${source.name}`;
  await using opened = new AsyncDisposableStack();
  const primary = opened.adopt(await connectPrimary(source.database_url, applicationName), (it) =>
    disconnect(it.client),
  );
  const { client, url } = primary;
  const publication = await check(options, primary);
  await ensureSlot(primary, applicationName, source.slot, logger);
  const intake = fillTail(source.name, options.onEvent);
  const reader = opened.adopt(
    await openLogReader({
      connectionString: url,
      applicationName,
      slot: source.slot,
      publication: source.publication,
      keptAsBytes: DATA_COLUMN,
      onMessage: intake.onMessage,
      onProgress: intake.onProgress,
    }),
    (it) => it.close(),
  );
  const { system } = reader;
  const start = await takeOver({ ...options, client, system, publication, names });
  const tail = openTail({ maxBytes: TAIL_BYTES, maxEntries: TAIL_ENTRIES, ...start });
  const journal = openJournal({ source: source.name, connectionString: url, applicationName, ...start });
  const clock = { offset: 0 };
  const now = () => Date.now() + clock.offset;
  const parts = { tail, journal, logger, counters, warnings, now };
  const feeds = openFeeds({ ...start, ...parts, source: source.name, subscribers, kafka });
  const attended = attend({ ...options, client, system, publication, start, reader, intake, tail, feeds, clock });
  opened.defer(async () => {
    await Promise.all([journal.close(), ...feeds.all.map((feed) => feed.close())]);
    await attended.end();
  });
  intake.begin({ ...start, tail, reader, now });
  options.onLeading({
    feeds,
    tail,
    get lastBeat() {
      return attended.lastBeat();
    },
    get seen() {
      return { generation: start.generation, mark: attended.mark() };
    },
  });
  await Promise.race([reader.ended, attended.failed, options.closing]);
}

async function check(options: LeadOptions, { client }: Primary): Promise<Publication> {
  const { source, again, warnings } = options;
  const publication = await readPublication(client, source.publication);
  if (publication.wrong !== null) throw new Misconfigured(publication.wrong);
  if (!(await hasSlotCap(client)))
    throw new Misconfigured('max_slot_wal_keep_size is unlimited: a dead forwarder would fill the payment disk');
  if (source.single_machine === 'accepted') return publication;
  const unguarded = await findUnguarded(client, source.slot);
  warnings.set('unguarded', unguarded);
  if (unguarded !== null && !again)
    throw new Misconfigured(
      `${unguarded}; a failover could lose what is forwarded: configure it, or single_machine: "accepted"`,
    );
  return publication;
}
