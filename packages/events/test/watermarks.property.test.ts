// Every schedule of a topic, a direct route, a lagging reader, resets, wipes and restores: what is claimed is always true,
// as long as no reader loses events without losing a watermark with them (there is one a second). The routes here do what contracts/order-event.ts says of a watermark; the log, the topic and the consumer are lists.
import { BEFORE_EVERYTHING, type Watermark } from '@ballast/contracts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  goOn,
  NOTHING_PROVEN,
  type Proven,
  prove,
  type StreamPosition,
  type Stretch,
} from '../src/consumer/watermarks.ts';

/** An event was decided at `at`, and stands where it is committed, later. */
interface LoggedEvent {
  readonly kind: 'event';
  readonly at: number;
  readonly id: number;
}
interface LoggedMark {
  readonly kind: 'mark';
  /** Everything decided before it stands before it. */
  readonly value: number;
  /** The time at which it was committed. */
  readonly committed: number;
}
type Logged = LoggedEvent | LoggedMark;
type Sent = LoggedEvent | { readonly kind: 'mark'; readonly mark: Watermark };

const text = (at: number) =>
  at <= 0 ? BEFORE_EVERYTHING : `2026-11-24T${new Date(at * 1_000).toISOString().slice(11, -1)}000Z`;

/** One way of sending: a position in the log, and the last watermark sent. */
class Route {
  at = 0;
  last: LoggedMark | undefined;
  private begun = false;
  private run = 0;

  next(log: readonly Logged[]): Sent[] {
    const entry = log[this.at];
    if (entry === undefined) return [];
    const sent: Sent[] = [];
    if (!this.begun) sent.push(this.begin(log));
    this.at++;
    if (entry.kind === 'event') return [...sent, entry];
    if (this.last !== undefined && entry.value <= this.last.value) return sent;
    const after = text(this.last?.value ?? 0);
    // Committed before this time: everything before it was decided before.
    const since = this.last === undefined || this.last.committed === 0 ? null : text(this.last.committed);
    sent.push({ kind: 'mark', mark: markOf(this.run, text(entry.value), after, since) });
    this.last = entry;
    return sent;
  }

  /** Goes on from a place in the log: everything before it was decided before `from`. */
  beginAt(at: number): void {
    this.at = at;
    this.begun = false;
  }

  private begin(log: readonly Logged[]): Sent {
    this.begun = true;
    this.run++;
    const from = this.at === 0 ? 0 : log.slice(0, this.at).reduce((most, it) => Math.max(most, timeOf(it)), 0) + 1;
    this.last = { kind: 'mark', value: from, committed: 0 };
    return { kind: 'mark', mark: markOf(this.run, text(from), null, null) };
  }
}

class Reader {
  proven: Proven = NOTHING_PROVEN;
  private streams: readonly StreamPosition[] = [];
  readonly has = new Set<number>();
  /** The last watermark of each stream, and the streams on which events came since the copy was made. */
  readonly last = new Map<string, string>();
  readonly brought = new Set<string>();

  take(route: string, partition: number, partitions: number, sent: Sent): void {
    const stream = `${route} ${partition}`;
    if (sent.kind === 'event') {
      this.has.add(sent.id);
      this.brought.add(stream);
      return;
    }
    this.last.set(stream, sent.mark.value);
    const known = this.streams.find((one) => one.route === route && one.partition === partition);
    const moved = { route, partition, partitions, stretch: goOn(known?.stretch, sent.mark) };
    const others = this.streams.filter((one) => one !== known);
    ({ proven: this.proven, streams: this.streams } = prove(this.proven, [...others, moved], []));
  }

  copy(): Reader {
    const copy = new Reader();
    Object.assign(copy, { proven: this.proven, streams: this.streams });
    for (const id of this.has) copy.has.add(id);
    for (const [stream, value] of this.last) copy.last.set(stream, value);
    this.brought.clear();
    return copy;
  }

  /** A watermark came after the copy was made, on every stream that brought an event. */
  hasMoreMarksThan(copy: Reader): boolean {
    return [...this.brought].every((stream) => (this.last.get(stream) ?? '') > (copy.last.get(stream) ?? ''));
  }
}

function timeOf(entry: Logged): number {
  return entry.kind === 'event' ? entry.at : entry.committed;
}

function markOf(run: number, value: string, after: string | null, since: string | null): Watermark {
  return {
    kind: 'watermark',
    source: 's',
    generation: 1,
    node: 'n',
    value,
    run: String(run),
    after,
    since,
    replaced: [],
  };
}

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
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

const PARTITIONS = 2;

/** What was claimed in the end, after every claim on the way was looked at. */
function play(steps: readonly Step[]): string {
  const log: Logged[] = [];
  let clock = 10;
  let ids = 0;
  const open: LoggedEvent[] = [];
  const topic: Sent[][] = [[], []];
  const topicRoute = new Route();
  const directRoute = new Route();
  const direct: Sent[] = [];
  let late = false;
  const offsets = [0, 0];
  let reader = new Reader();
  let backup = new Reader();

  const commit = () => {
    const event = open.shift();
    if (event !== undefined) log.push(event);
  };
  /** A reader that skips an event skips a watermark with it that it has not had. */
  const seek = (partition: number, to: number) => {
    const records = topic[partition] ?? [];
    const from = offsets[partition] ?? 0;
    const skipped = records.slice(from, to);
    const last = reader.last.get(`topic ${partition}`) ?? '';
    const hidden =
      skipped.some((it) => it.kind === 'event') && !skipped.some((it) => it.kind === 'mark' && it.mark.value > last);
    if (!hidden) offsets[partition] = Math.min(to, records.length);
  };

  for (const one of steps) {
    clock++;
    switch (one.do) {
      case 'write':
        open.push({ kind: 'event', at: clock, id: ids++ });
        while (open.length > one.open) commit();
        break;
      case 'beat': {
        const value = open[0]?.at ?? clock;
        log.push({ kind: 'mark', value, committed: ++clock });
        break;
      }
      case 'publish':
        for (const sent of topicRoute.next(log))
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
        for (const sent of directRoute.next(log)) {
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
        directRoute.beginAt(Math.max(0, log.length - one.back));
        break;
      case 'publish from':
        topicRoute.beginAt(Math.max(0, Math.min(topicRoute.at, log.length - one.back)));
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
    }
    for (const entry of [...log, ...open])
      if (entry.kind === 'event' && text(entry.at) < reader.proven.value && !reader.has.has(entry.id))
        throw new Error(`${reader.proven.value} is claimed, and event ${entry.id} of ${text(entry.at)} is missing`);
  }
  return reader.proven.value;
}

test('whatever happens to routes and reader, everything decided before what is proven is there', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150, size: 'max' }), (steps) => {
      play(steps);
    }),
    { numRuns: 2_000 },
  );
});

test('a reader that lost its place in the topic proves by the topic again, once the direct route has brought it there', () => {
  const repeated = (count: number, ...some: Step[]) => Array.from({ length: count }, () => some).flat();
  const flow = repeated(4, { do: 'write', open: 0 }, { do: 'beat' }, { do: 'publish' }, { do: 'publish' });
  const read = repeated(30, { do: 'read', partition: 0 }, { do: 'read', partition: 1 });
  const lost: Step[] = [...flow, ...read, ...flow, { do: 'wipe' }, ...repeated(40, { do: 'publish' })];
  const behind: Step[] = [
    { do: 'seek', partition: 0, to: 12 },
    { do: 'seek', partition: 1, to: 12 },
  ];
  const stuck = play([...lost, ...behind, ...read]);
  const direct: Step[] = [{ do: 'direct from', back: 60 }, ...repeated(60, { do: 'deliver' })];
  const again = [...lost, ...behind, ...read, ...flow, ...read, ...direct, ...flow, ...read];
  const last = play([...again, ...flow, ...read]);
  expect([stuck < play([...again]), play([...again]) < last]).toEqual([true, true]);
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
