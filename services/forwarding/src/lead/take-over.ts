// After the slot is ours and before anything is forwarded: is this still the database that was forwarded, and what are its
// slot's position and the stored ones worth?
//
// Whoever finds that the history was replaced raises the generation, here, before anything of the new history leaves: the
// holder of the slot is the only one who knows what was forwarded. If it dies right after the raise, the next one finds a
// newer generation than the one that was forwarded, and draws the same conclusions; so one incident raises it once. If it
// dies right after it took over, the next one finds nothing to conclude: what the feeds may believe was stored with that.
import { BEFORE_EVERYTHING, type Replaced } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import type { Logger } from '@ballast/telemetry';
import type pg from 'pg';
import { type RememberedSource, readFeeds, readLead, type StoredFeed, takeLead } from '../delivery/feeds.sql.ts';
import type { Subscriber } from '../delivery/send-delivery.ts';
import { type GenerationOf, openGenerations, replacedBy } from '../journal/generations.ts';
import { readGreatestWatermark } from '../journal/journal.sql.ts';
import { rfc3339 } from '../journal/journal-row.ts';
import { Misconfigured } from '../misconfigured.ts';
import type { System } from '../source/identify-system.ts';
import { parseLsn } from '../source/lsn.ts';
import { earlier, type PgSnapshot, parseSnapshot, SEES_NOTHING } from '../source/pg-snapshot.ts';
import type { Mark } from '../source/remembered.ts';
import { findUnguarded, type Publication, readSlot, takeXid } from '../source/source.sql.ts';
import { askHowFar } from './ask-how-far.ts';
import { hasMark, raiseGeneration, readHistory, readNewestMark, readRaises } from './history.sql.ts';
import { type Claim, type Found, judgeClaims, judgeHistory, type Verdict } from './history.ts';

export interface TakeOverOptions {
  readonly client: pg.ClientBase;
  /** Of the server whose log is read. */
  readonly system: System;
  readonly publication: Publication;
  readonly source: { readonly name: string; readonly slot: string };
  readonly instance: string;
  readonly subscribers: readonly Subscriber[];
  /** Theirs, and Kafka's where there is one. */
  readonly names: readonly string[];
  /** By this process, when it led last. */
  readonly seen: Seen | undefined;
  /** Forwarding's own database. */
  readonly knex: Knex;
  readonly logger: Logger;
}

/** What a forwarder has in memory of a source, which no restore takes away. */
export interface Seen {
  readonly generation: number;
  readonly mark: Mark;
}

export interface TakenOver {
  readonly epoch: bigint;
  readonly generation: number;
  readonly generationOf: GenerationOf;
  /** What watermarks say of lost histories. */
  readonly replaced: readonly Replaced[];
  /** Where the slot stands. */
  readonly start: number;
  /** A transaction id given out after the slot was ours. */
  readonly barrierXid: number;
  readonly mark: Mark;
  /** So much of the log outlives a crash. */
  readonly reached: number;
  /** Of the newest watermark: what it sees outlives a crash as well. */
  readonly lasting: PgSnapshot;
  readonly unguarded: string | null;
  readonly stored: readonly { readonly feed: StoredFeed; readonly startsInLog: boolean }[];
}

/** What of the old history a feed may still believe in. */
type Belief = 'all' | 'none' | { readonly upTo: PgSnapshot };

export async function takeOver(options: TakeOverOptions): Promise<TakenOver> {
  const { client, system, publication, source, instance, subscribers, names, seen, knex } = options;
  const barrierXid = await takeXid(client);
  const slot = await readSlot(client, source.slot);
  const history = await readHistory(client);
  if (history.system !== system.system || history.timeline !== system.timeline)
    throw new Error('two servers answer for this source, of different histories');
  const before = await readLead(knex, source.name);
  const feeds = await readFeeds(knex, source.name, names);
  const marks = [before?.mark, seen?.generation === history.generation ? seen.mark : undefined];
  const found = {
    ...history,
    leftAt: before === null ? undefined : system.leftAt.get(before.timeline),
    nextXid: barrierXid + 1,
    hasMark: await hasAll(client, marks),
  };
  const xmax = Math.max(0, ...feeds.map((feed) => parseSnapshot(feed.snapshot).xmax));
  const claims: Claim[] = await askHowFar(source.name, subscribers);
  if (seen !== undefined) claims.push({ generation: seen.generation, value: BEFORE_EVERYTHING });
  const greatest = await readGreatestWatermark(client, source.name);
  const verdict = judgeClaims(judgeHistory(before === null ? null : { ...before, xmax }, found), claims, {
    generation: found.generation,
    watermark: greatest === undefined ? null : rfc3339(greatest),
  });
  const known = Math.max(before?.generation ?? 0, ...claims.map((one) => one.generation));
  const { generation, mark, belief } = await drawConclusions(options, verdict, { before, known }, found);
  const unguarded = await findUnguarded(client, source.slot);
  const remembered: RememberedSource = {
    system: found.system,
    timeline: found.timeline,
    generation,
    publication: publication.state,
    mark,
    reached: found.flushed,
    guarded: unguarded === null,
  };
  const positionsHold = belief === 'all' && before?.publication === publication.state;
  const stored = feeds.map((feed) => believing(feed, belief));
  const epoch = await takeLead(knex, source.name, instance, remembered, positionsHold ? [] : stored);
  const start = parseLsn(slot?.confirmed ?? '0/0');
  const raises = await readRaises(client);
  const newest = await readNewestMark(client);
  return {
    epoch,
    generation,
    generationOf: openGenerations(raises),
    replaced: replacedBy(raises),
    start,
    barrierXid,
    mark,
    reached: found.flushed,
    lasting: newest === undefined ? SEES_NOTHING : parseSnapshot(newest.snapshot),
    unguarded,
    stored: stored
      .filter(({ subscriber }) => names.includes(subscriber))
      .map((feed) => ({
        feed,
        startsInLog: positionsHold && feed.reading === 'log' && feed.frontier >= start && feed.wanted === 'on',
      })),
  };
}

async function hasAll(client: pg.ClientBase, marks: readonly (Mark | undefined)[]): Promise<boolean> {
  for (const mark of marks) if (mark !== undefined && !(await hasMark(client, mark))) return false;
  return true;
}

const NOTHING_SEEN: Mark = { watermark: null, event: null };

async function drawConclusions(
  { client, source, instance, logger }: TakeOverOptions,
  verdict: Verdict,
  /** `known`: the newest generation that anybody has. */
  { before, known }: { readonly before: RememberedSource | null; readonly known: number },
  found: Found,
): Promise<{ generation: number; mark: Mark; belief: Belief }> {
  switch (verdict.kind) {
    case 'same':
      return { generation: found.generation, mark: before?.mark ?? NOTHING_SEEN, belief: 'all' };
    case 'stale':
      throw new Misconfigured(
        `${verdict.why}: an old primary, or a backup restored by hand (then: npx ballast source new-generation)`,
      );
    case 'declared': {
      const first = (await readRaises(client)).findLast(({ generation }) => generation > (before?.generation ?? 0));
      const belief = verdict.foreign || first === undefined ? 'none' : { upTo: first.since };
      logger.warn({ generation: found.generation }, 'the generation was raised; feeds go on from what still holds');
      return { generation: found.generation, mark: NOTHING_SEEN, belief };
    }
    case 'replaced':
    case 'foreign': {
      const newest = verdict.kind === 'replaced' ? await readNewestMark(client) : undefined;
      const upTo = newest === undefined ? SEES_NOTHING : parseSnapshot(newest.snapshot);
      const to = Math.max(found.generation, known) + 1;
      const raise = { from: found.generation, to, since: upTo.text, reason: verdict.why, by: instance };
      if (!(await raiseGeneration(client, raise))) throw new Error('the generation was raised by somebody else');
      logger.error(
        { source: source.name, reason: verdict.why, generation: to },
        'the history of the source was replaced: its generation is raised, and what may be lost is delivered again',
      );
      return { generation: to, mark: newest?.mark ?? NOTHING_SEEN, belief: { upTo } };
    }
  }
}

/** Nothing of what was delivered from a history that is lost counts as delivered. */
function believing(feed: StoredFeed, belief: Belief): StoredFeed {
  if (belief === 'all') return feed;
  const snapshot = belief === 'none' ? SEES_NOTHING : earlier(parseSnapshot(feed.snapshot), belief.upTo);
  return { ...feed, reading: 'journal', snapshot: snapshot.text };
}
