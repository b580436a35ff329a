// Every schedule of a topic, a direct route, a lagging reader, resets, wipes and restores, of the reader and of the source: what
// is claimed is always true, as long as no reader loses events without losing a watermark with them that says more than those
// that it keeps (there is one a second).
import { BEFORE_EVERYTHING } from '@ballast/contracts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { goOn, type Proven, prove, type Stretch } from '../src/consumer/watermarks.ts';
import { checkClaim, markOf, Reader, Route, type Sent, Source, text } from './support/watermark-model.ts';

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), open: fc.nat(3) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('beat' as const) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('publish' as const) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('read' as const), partition: fc.nat(1) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('deliver' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('direct from' as const), back: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('publish from' as const), back: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('seek' as const), partition: fc.nat(1), to: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('deliver late' as const), back: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wipe' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('back up' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restore' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('restore source' as const),
      back: fc.nat(8),
      written: fc.nat(2),
      dated: fc.boolean(),
      behind: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('mark' as const), most: fc.integer({ min: 1, max: 6 }) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

const PARTITIONS = 2;

/** What was claimed in the end, and which orders waited, after every claim on the way was looked at. */
function play(steps: readonly Step[]): Proven & { readonly waiting: readonly number[] } {
  const source = new Source();
  const topic: Sent[][] = [[], []];
  const topicRoute = new Route();
  const directRoute = new Route();
  const direct: Sent[] = [];
  let late = false;
  const offsets = [0, 0];
  let reader = new Reader();
  let backup = new Reader();

  /** What a reader that goes elsewhere lacks stands before a watermark that it has not had either. */
  const seek = (partition: number, to: number) => {
    const records = topic[partition] ?? [];
    const stream = `topic ${partition}`;
    const last = reader.last.get(stream) ?? '';
    const before = records.slice(0, to);
    const lacks = before.findLastIndex((it) => it.kind === 'event' && !reader.has(stream, it));
    const skips = before.findLastIndex((it) => it.kind === 'mark' && it.mark.value > last);
    if (lacks <= skips) offsets[partition] = before.length;
  };

  for (const one of steps) {
    source.clock++;
    switch (one.do) {
      case 'write':
        source.write(one.open);
        break;
      case 'beat':
        source.beat();
        break;
      case 'publish':
        for (const sent of topicRoute.next(source))
          if (sent.kind === 'event') topic[sent.id % PARTITIONS]?.push(sent);
          else for (const partition of topic) partition.push(sent);
        break;
      case 'read': {
        const sent = topic[one.partition]?.[offsets[one.partition] ?? 0];
        if (sent === undefined) break;
        offsets[one.partition] = (offsets[one.partition] ?? 0) + 1;
        reader.take('topic', one.partition, PARTITIONS, sent);
        break;
      }
      case 'deliver':
        for (const sent of directRoute.next(source)) {
          direct.push(sent);
          reader.take('direct', 0, 1, sent);
        }
        break;
      case 'deliver late': {
        // A forwarder that froze has one delivery under way; here it came before, too.
        const sent: Sent | undefined = late ? undefined : direct.at(-one.back);
        if (sent !== undefined) reader.take('direct', 0, 1, sent);
        late ||= sent !== undefined;
        break;
      }
      case 'direct from':
        directRoute.beginAt(Math.max(0, source.log.length - one.back));
        break;
      case 'publish from':
        topicRoute.beginAt(Math.max(0, Math.min(topicRoute.at, source.log.length - one.back)));
        break;
      case 'seek':
        seek(one.partition, one.to);
        break;
      case 'wipe':
        for (const partition of topic) partition.length = 0;
        topicRoute.beginAt(0);
        break;
      case 'back up':
        backup = reader.copy();
        break;
      case 'restore':
        if (reader.hasMoreMarksThan(backup)) reader = backup.copy();
        late = true; // what it had is forgotten
        break;
      case 'restore source': {
        const at = source.restore(one.back, one.written, one);
        topicRoute.goBack(at);
        directRoute.goBack(at);
        break;
      }
      case 'mark':
        reader.markNext(one.most);
        break;
    }
    checkClaim(reader, source);
  }
  return {
    ...reader.proven(),
    waiting: [...reader.orders].filter(([, { waits }]) => waits).map(([id]) => id),
  };
}

test('whatever happens to source, routes and reader, what is proven is true', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150, size: 'max' }), (steps) => {
      play(steps);
    }),
    { numRuns: 3_000 },
  );
});

function repeated(count: number, ...some: Step[]): Step[] {
  return Array.from({ length: count }, () => some).flat();
}

test('a reader that lost its place in the topic proves by the topic again, once the direct route has brought it there', () => {
  const flow = repeated(4, { do: 'write', open: 0 }, { do: 'beat' }, { do: 'publish' }, { do: 'publish' });
  const read = repeated(30, { do: 'read', partition: 0 }, { do: 'read', partition: 1 });
  const lost: Step[] = [...flow, ...read, ...flow, { do: 'wipe' }, ...repeated(40, { do: 'publish' })];
  const behind: Step[] = [
    { do: 'seek', partition: 0, to: 12 },
    { do: 'seek', partition: 1, to: 12 },
  ];
  const stuck = play([...lost, ...behind, ...read]).value;
  const direct: Step[] = [{ do: 'direct from', back: 60 }, ...repeated(60, { do: 'deliver' })];
  const again = [...lost, ...behind, ...read, ...flow, ...read, ...direct, ...flow, ...read];
  const last = play([...again, ...flow, ...read]).value;
  expect([stuck < play([...again]).value, play([...again]).value < last]).toEqual([true, true]);
});

test('after a restore the routes prove the newer generation, once every order that was lost is marked', () => {
  const flow = repeated(4, { do: 'write', open: 0 }, { do: 'beat' }, { do: 'deliver' }, { do: 'deliver' });
  const restored: Step[] = [
    ...flow,
    { do: 'restore source', back: 3, written: 0, dated: true, behind: false },
    ...flow,
  ];
  const mark: Step = { do: 'mark', most: 2 };
  expect(play([...restored, mark])).toMatchObject({ generation: 0 });
  expect(play([...restored, ...repeated(8, mark)])).toMatchObject({ generation: 2, waiting: [3] });
});

test('a watermark of an older generation proves nothing of a newer one: it does not speak of what that one lost', () => {
  const stretch = { run: '2', generation: 3, first: BEFORE_EVERYTHING, value: text(30), since: text(5), joined: true };
  const streams = [{ route: 'direct', partition: 0, partitions: 1, stretch }];
  const before = { generation: 2, value: text(20) };
  const replaced = [{ generation: 2, from: text(3) }];
  expect(prove(before, streams, { generation: 2, replaced }).proven).toEqual(before);
  const newer = [{ generation: 3, from: text(4) }, ...replaced];
  expect(prove(before, streams, { generation: 3, replaced: newer }).proven).toEqual({ generation: 3, value: text(30) });
});

test('a reader that joins in the middle has what comes behind the watermark it joined at, and no word of what is older', () => {
  const joined = goOn(undefined, markOf(1, text(20), text(10), text(12)));
  expect(joined).toMatchObject({ first: text(20), since: null, joined: false });
  expect(goOn(joined, markOf(1, text(30), text(20), text(23)))).toMatchObject({ first: text(20), since: text(23) });
});

test('another run is another stretch, also where its watermarks stand among those of the last one', () => {
  const known = [markOf(1, BEFORE_EVERYTHING, null, null), markOf(1, text(20), BEFORE_EVERYTHING, null)];
  const stretch = known.reduce<Stretch | undefined>(goOn, undefined);
  const other = markOf(2, text(30), BEFORE_EVERYTHING, null);
  expect(stretch && goOn(stretch, other)).toMatchObject({ first: text(30), since: null, joined: false });
});

test('a late delivery of an older run breaks no stretch: what follows goes on', () => {
  const known = [markOf(2, text(10), null, null), markOf(2, text(20), text(10), null)];
  const stretch = known.reduce<Stretch | undefined>(goOn, undefined);
  expect(stretch && goOn(stretch, markOf(1, text(7), text(6), null))).toEqual(stretch);
});
