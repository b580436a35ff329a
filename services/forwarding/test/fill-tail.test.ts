// What the log reader hands out, as entries of the tail.
import { expect, test } from 'vitest';
import { journalColumns } from '../src/journal/journal-row.ts';
import type { LogReader } from '../src/source/log-reader.ts';
import type { Relation } from '../src/source/pgoutput.ts';
import { fillTail } from '../src/tail/fill-tail.ts';
import { openTail } from '../src/tail/tail.ts';

const XIDS = 2 ** 32;
const STARTED = 3 * XIDS + 5;
const journal: Relation = { name: 'order_event', columns: journalColumns, bytesAt: -1 };
const watermarks: Relation = { name: 'journal_watermark', columns: ['node', 'value'], bytesAt: -1 };

/** Of a lead that began at the transaction `barrierXid`. */
function openScene(barrierXid: number) {
  const tail = openTail({ maxBytes: 1_000_000, maxEntries: 1_000, start: 0, barrierXid });
  const intake = fillTail('collection', () => undefined);
  const reader: LogReader = {
    system: { system: '1', timeline: 1, leftAt: new Map() },
    begin: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
    received: () => 0,
    confirm: () => undefined,
    ended: Promise.race([]),
    close: async () => undefined,
  };
  intake.begin({ tail, reader, generation: 1, generationOf: (written) => written, barrierXid, now: () => 0 });
  let lsn = 0;
  /** A transaction of one row; the log names the lower half of its id. */
  const transaction = (xid: number, relation: Relation, row: Buffer) => {
    intake.onMessage({ kind: 'begin', lsn: ++lsn, committedAt: 0, xid: xid % XIDS });
    intake.onMessage({ kind: 'insert', relation, row });
    intake.onMessage({ kind: 'commit', end: lsn });
  };
  const entries = () => tail.take(tail.begin(), 1_000, 1_000_000);
  return { transaction, entries };
}

function rowOf(values: readonly string[]): Buffer {
  const count = Buffer.alloc(2);
  count.writeUInt16BE(values.length);
  const columns = values.map((value) => {
    const head = Buffer.alloc(5);
    head.write('t');
    head.writeUInt32BE(Buffer.byteLength(value), 1);
    return Buffer.concat([head, Buffer.from(value)]);
  });
  return Buffer.concat([count, ...columns]);
}

test('a lead that lasts for more transactions than half of a counter holds names all of them rightly', () => {
  const { transaction, entries } = openScene(STARTED);
  // Also back a little: transactions stand in the order of their commits.
  const xids = Array.from({ length: 40 }, (_, step) => STARTED + step * (XIDS / 4) - (step % 3) * 1_000);
  for (const xid of xids) transaction(xid, journal, rowOf([]));
  expect(entries().map(({ xid }) => xid)).toEqual(xids);
});

test("watermarks of other nodes are none of this source's", () => {
  const { transaction, entries } = openScene(STARTED);
  for (const node of ['collection', 'another', 'collection'])
    transaction(STARTED, watermarks, rowOf([node, '2026-11-24 20:00:00+00']));
  expect(entries().map(({ lsn, message }) => [lsn, message.kind === 'watermark' && message.node])).toEqual([
    [1, 'collection'],
    [3, 'collection'],
  ]);
});
