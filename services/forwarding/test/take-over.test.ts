// What a forwarder concludes about its source's history is stored with its taking over: it may die before anything else is,
// and the next one finds a source that looks as it was remembered.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DeliveryReply } from '@ballast/contracts';
import { migrate, openDatabase } from '@ballast/database';
import { freshDatabase } from '@ballast/database/testing';
import { createLogger } from '@ballast/telemetry';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { type FeedProgress, storeProgress } from '../src/delivery/feeds.sql.ts';
import type { Subscriber } from '../src/delivery/send-delivery.ts';
import { type Seen, type TakenOver, takeOver } from '../src/lead/take-over.ts';
import { parseLsn } from '../src/source/lsn.ts';
import { type Publication, readPublication } from '../src/source/source.sql.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';

const MISSING = { id: '999999', written_at: '2026-11-24 20:00:00+00' };

/** A source, a database of forwarding's, and a forwarder that takes over as often as the test wants. */
async function openScene(label: string) {
  const source = await started(startSource(label));
  const database = await started(
    freshDatabase(`${label}_own`).then((own) => ({ ...own, close: () => knex.destroy().then(() => own.drop()) })),
  );
  const knex = openDatabase({ url: database.url, applicationName: 'test', poolMax: 2 });
  await migrate(knex, new URL('../migrations/', import.meta.url));
  const client = new pg.Client({ connectionString: source.url, options: '-c TimeZone=UTC -c DateStyle=ISO' });
  await client.connect();
  await started(Promise.resolve({ close: () => client.end() }));
  const { rows } = await client.query('select system_identifier::text as system from pg_control_system()');
  const system = { system: String(rows[0].system), timeline: 1, leftAt: new Map<number, number>() };
  const publication = await readPublication(client, 'ballast_journal');
  const logger = createLogger({ service: 'test', level: 'silent' });

  const take = (
    names: readonly string[],
    found: Publication = publication,
    seen?: Seen,
    subscribers: readonly Subscriber[] = [],
  ) =>
    takeOver({
      client,
      system,
      publication: found,
      source: { name: 'collection', slot: source.slot },
      instance: 'forwarding-1',
      subscribers,
      names,
      seen,
      knex,
      logger,
    });

  /** Each feed reads the log, and has everything that is visible by now. `mark`: the last watermark it saw. */
  async function goOn({ epoch, reached, stored }: TakenOver, mark: typeof MISSING | null): Promise<string> {
    const now = await client.query('select pg_current_snapshot()::text as snapshot, pg_current_wal_lsn()::text as lsn');
    const { snapshot, lsn } = now.rows[0];
    const progress = stored.map(
      ({ feed }): FeedProgress => ({
        ...feed,
        reading: 'log',
        snapshot,
        position: { lsn: parseLsn(lsn), index: 0 },
        frontier: parseLsn(lsn),
        coveredAt: Date.now(),
      }),
    );
    await storeProgress(
      knex,
      'collection',
      epoch,
      { reached, mark: { watermark: mark, event: null }, guarded: false },
      progress,
    );
    return snapshot;
  }

  /** A watermark of now; resolves to what it sees. */
  async function writeWatermark(): Promise<string> {
    const written = await client.query(
      `insert into journal_watermark (node, value) values ('collection', now()) returning snapshot::text`,
    );
    return written.rows[0].snapshot;
  }

  return { source, publication, take, goOn, writeWatermark };
}

const believed = ({ stored }: TakenOver) => stored.map(({ feed, startsInLog }) => [feed.snapshot, startsInLog]);

test('found to be replaced: whoever takes over next believes as little of the old history', async () => {
  const { source, take, goOn, writeWatermark } = await openScene('replaced');
  const common = await writeWatermark();
  await source.write(20);
  await goOn(await take(['query']), MISSING);
  const first = await take(['query']);
  expect(first.generation).toBe(2);
  expect(believed(first)).toEqual([[common, false]]);
  // It was killed before it stored any position.
  const second = await take(['query']);
  expect(second.generation).toBe(2);
  expect(believed(second)).toEqual([[common, false]]);
});

test('a watermark that a dump brought from another cluster says nothing of what is common', async () => {
  const { source, take, goOn, writeWatermark } = await openScene('dumped');
  await writeWatermark();
  await source.query('update journal_watermark set system = system + 1');
  await goOn(await take(['query']), MISSING);
  const replaced = await take(['query']);
  expect([replaced.generation, replaced.mark]).toEqual([2, { watermark: null, event: null }]);
  expect(believed(replaced)).toEqual([['1:1:', false]]);
});

test('raised by somebody else: the same', async () => {
  const { source, take, goOn, writeWatermark } = await openScene('declared');
  const common = await writeWatermark();
  await source.write(20);
  await goOn(await take(['query']), null);
  await source.query(`select raise_generation(1, 2, $1, 'a drill', 'ann')`, [common]);
  for (let times = 0; times < 2; times++) expect(believed(await take(['query']))).toEqual([[common, false]]);
});

test('a subscriber that was not configured then believes no more of it when it is again', async () => {
  const { source, take, goOn, writeWatermark } = await openScene('absent');
  const common = await writeWatermark();
  await source.write(20);
  await goOn(await take(['query', 'refund']), MISSING);
  await take(['query']);
  expect(believed(await take(['query', 'refund']))).toEqual([
    [common, false],
    [common, false],
  ]);
});

test('forwarding was restored together with its source: a process that lives on knows what both have lost', async () => {
  const { publication, take, goOn, writeWatermark } = await openScene('memory');
  const common = await writeWatermark();
  await goOn(await take(['query']), null);
  const lost = { generation: 1, mark: { watermark: MISSING, event: null } };
  const first = await take(['query'], publication, lost);
  expect([first.generation, believed(first)]).toEqual([2, [[common, false]]]);
  // Of another generation than the source's by now, it says nothing more.
  expect((await take(['query'], publication, lost)).generation).toBe(2);
  // A newer one than the source's: that was lost, too, and with it what was common then.
  const newer = await take(['query'], publication, { ...lost, generation: 7 });
  expect([newer.generation, believed(newer)]).toEqual([8, [['1:1:', false]]]);
});

/** A subscriber that says it was told so much. */
async function startTold(value: string): Promise<Subscriber> {
  const progress = [{ source: 'collection', node: 'collection', generation: 1, value, by_topic: null }];
  const reply: DeliveryReply = { applied: 0, repeated: 0, held: 0, parked: 0, gaps: [], progress };
  const server = createServer((_, response) => response.end(JSON.stringify(reply)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { name: 'query', url, token: 'token', route: 'direct' };
}

test('a watermark that a forwarder wrote which had been stopped meanwhile says less, and hides none that were told', async () => {
  const { source, publication, take } = await openScene('stopped');
  const second = (count: number) => `2026-11-24T20:00:${count}.000000Z`;
  for (const value of [second(10), second(40), second(11)])
    await source.query(`insert into journal_watermark (node, value) values ('collection', $1)`, [value]);
  const takeTold = async (value: string) =>
    (await take(['query'], publication, undefined, [await startTold(value)])).generation;
  expect(await takeTold(second(40))).toBe(1);
  expect(await takeTold(second(41))).toBe(2);
});

test('a publication that was changed: the journal is read from the last proven snapshot, whoever does it', async () => {
  const { publication, take, goOn } = await openScene('publication');
  const proven = await goOn(await take(['query']), null);
  const changed = { ...publication, state: `${publication.state} changed` };
  expect(believed(await take(['query'], changed))).toEqual([[proven, false]]);
  expect(believed(await take(['query'], changed))).toEqual([[proven, false]]);
});

test('where nothing has changed, the log is gone on with', async () => {
  const { take, goOn } = await openScene('unchanged');
  const proven = await goOn(await take(['query']), null);
  for (let times = 0; times < 2; times++) expect(believed(await take(['query']))).toEqual([[proven, true]]);
});
