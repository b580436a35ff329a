// For the property of watermarks: a source, the ways it is sent on, and the consumer, as lists. The routes do what
// contracts/order-event.ts says of a watermark; each event is an order of its own. A restored source's clock may be behind.
import { BEFORE_EVERYTHING, type Replaced, type Watermark } from '@ballast/contracts';
import { goOn, NOTHING_PROVEN, type Proven, prove, type StreamPosition } from '../../src/consumer/watermarks.ts';

/** An event was decided at `at`, and stands where it is committed, later. */
interface LoggedEvent {
  readonly kind: 'event';
  readonly at: number;
  readonly id: number;
  readonly generation: number;
}
interface LoggedMark {
  readonly kind: 'mark';
  /** Everything decided before it stands before it. */
  readonly value: number;
  /** The time at which it was committed. */
  readonly committed: number;
}
type Logged = LoggedEvent | LoggedMark;
export type Sent = LoggedEvent | { readonly kind: 'mark'; readonly mark: Watermark };

export const text = (at: number) =>
  at <= 0 ? BEFORE_EVERYTHING : `2026-11-24T${new Date(at * 1_000).toISOString().slice(11, -1)}000Z`;

export class Source {
  log: readonly Logged[] = [];
  generation = 1;
  replaced: readonly Replaced[] = [];
  clock = 10;
  private ids = 0;
  private open: readonly LoggedEvent[] = [];
  /** What each generation had in the end. */
  private readonly before = new Map<number, readonly LoggedEvent[]>();

  /** At most `open` transactions stay open. */
  write(open: number): void {
    const begun = [...this.open, this.event()];
    const done = Math.max(0, begun.length - open);
    this.log = [...this.log, ...begun.slice(0, done)];
    this.open = begun.slice(done);
  }

  beat(): void {
    const value = this.open[0]?.at ?? this.clock;
    this.log = [...this.log, { kind: 'mark', value, committed: ++this.clock }];
  }

  /** Of this generation: whatever was decided in it, committed or not. */
  events(generation: number): readonly LoggedEvent[] {
    const now = [...this.log.filter((it) => it.kind === 'event'), ...this.open];
    return generation === this.generation ? now : (this.before.get(generation) ?? []);
  }

  /**
   * Goes back to where it was `back` entries ago, and writes on, before somebody notices. Resolves to where feeds go on: before the
   * newest watermark that is left, if one is to be believed. What comes behind that is of the new generation.
   */
  restore(back: number, written: number, { dated, behind }: { dated: boolean; behind: boolean }): number {
    this.before.set(this.generation, this.events(this.generation));
    const kept = this.log.slice(0, Math.max(0, this.log.length - back));
    const newest = dated ? kept.findLastIndex(({ kind }) => kind === 'mark') : -1;
    const mark = kept[newest];
    if (behind) this.clock = kept.reduce((most, it) => Math.max(most, timeOf(it)), 10);
    for (let count = 0; count < written; count++) kept.push(this.event());
    const generation = ++this.generation;
    this.replaced = [{ generation, from: text(mark?.kind === 'mark' ? mark.value : 0) }, ...this.replaced];
    this.log = kept.map((it, index) => (it.kind === 'event' && index > newest ? { ...it, generation } : it));
    this.open = [];
    return Math.max(0, newest);
  }

  private event(): LoggedEvent {
    return { kind: 'event', at: ++this.clock, id: this.ids++, generation: this.generation };
  }
}

/** One way of sending: a position in the log, and the last watermark sent. */
export class Route {
  at = 0;
  private last: (LoggedMark & { readonly generation: number }) | undefined;
  private begun = false;
  private run = 0;

  next(source: Source): Sent[] {
    const { log, generation } = source;
    const entry = log[this.at];
    if (entry === undefined) return [];
    const sent: Sent[] = [];
    if (!this.begun) sent.push(this.begin(source));
    this.at++;
    if (entry.kind === 'event') return [...sent, entry];
    if (this.last !== undefined && this.last.generation === generation && entry.value <= this.last.value) return sent;
    const after = text(this.last?.value ?? 0);
    // Committed before this time: everything before it was decided before.
    const since = this.last === undefined || this.last.committed === 0 ? null : text(this.last.committed);
    sent.push({ kind: 'mark', mark: markOf(this.run, text(entry.value), after, since, source) });
    this.last = { ...entry, generation };
    return sent;
  }

  /** Goes on from a place in the log: everything before it was decided before `from`. */
  beginAt(at: number): void {
    this.at = at;
    this.begun = false;
  }

  /** The run goes on, from where both histories are the same. */
  goBack(at: number): void {
    this.at = Math.min(this.at, at);
    if (this.last !== undefined) this.last = { ...this.last, committed: 0, generation: 0 };
  }

  private begin(source: Source): Sent {
    this.begun = true;
    this.run++;
    const before = source.log.slice(0, this.at);
    const from = this.at === 0 ? 0 : before.reduce((most, it) => Math.max(most, timeOf(it)), 0) + 1;
    this.last = { kind: 'mark', value: from, committed: 0, generation: source.generation };
    return { kind: 'mark', mark: markOf(this.run, text(from), null, null, source) };
  }
}

interface Order {
  readonly generation: number;
  readonly at: number;
  /** For what the newer generation says of it. */
  readonly waits: boolean;
}

/** A lost history, and the order up to which its orders are marked; null: all. */
type Remembered = Replaced & { readonly markedUpTo: number | null };

export class Reader {
  private reached: Proven = NOTHING_PROVEN;
  private streams: readonly StreamPosition[] = [];
  private remembered: readonly Remembered[] = [];
  private came: ReadonlySet<string> = new Set();
  orders: ReadonlyMap<number, Order> = new Map();
  /** The furthest watermark of each stream, the latest, and the streams that brought anything since the copy was made. */
  readonly last = new Map<string, string>();
  private readonly latest = new Map<string, string>();
  private readonly brought = new Set<string>();

  take(route: string, partition: number, partitions: number, sent: Sent): void {
    const stream = `${route} ${partition}`;
    this.brought.add(stream);
    if (sent.kind === 'event') {
      this.came = new Set(this.came).add(keyOf(stream, sent));
      this.apply(sent);
      return;
    }
    const { mark } = sent;
    if (mark.value > (this.last.get(stream) ?? '')) this.last.set(stream, mark.value);
    this.latest.set(stream, mark.value);
    const known = this.streams.find((one) => one.route === route && one.partition === partition);
    const moved = { route, partition, partitions, stretch: goOn(known?.stretch, mark) };
    const others = this.streams.filter((one) => one !== known);
    const before = this.reached;
    ({ proven: this.reached, streams: this.streams } = prove(before, [...others, moved], mark));
    if (this.reached.generation === before.generation) return;
    const fresh = mark.replaced.filter(({ generation }) => generation > before.generation);
    this.remembered = [...this.remembered, ...fresh.map((one) => ({ ...one, markedUpTo: -1 }))];
  }

  /** By this stream. */
  has(stream: string, event: LoggedEvent): boolean {
    return this.came.has(keyOf(stream, event));
  }

  private apply({ id, at, generation }: LoggedEvent): void {
    if ((this.orders.get(id)?.generation ?? 0) >= generation) return;
    const waits = this.remembered.some((one) => one.generation > generation && one.from <= text(at));
    this.orders = new Map(this.orders).set(id, { generation, at, waits });
  }

  /** Looks at the next orders, and marks those that a lost history may have issued. */
  markNext(most: number): void {
    const next = this.remembered.find(({ markedUpTo }) => markedUpTo !== null);
    if (next === undefined) return;
    const ids = [...this.orders.keys()].filter((id) => id > (next.markedUpTo ?? -1)).sort((a, b) => a - b);
    const slice = ids.slice(0, most);
    const orders = new Map(this.orders);
    for (const id of slice) {
      const order = this.orders.get(id);
      if (order !== undefined && order.generation < next.generation && text(order.at) >= next.from)
        orders.set(id, { ...order, waits: true });
    }
    this.orders = orders;
    const markedUpTo = slice.length < most ? null : (slice.at(-1) ?? null);
    this.remembered = this.remembered.map((one) => (one === next ? { ...one, markedUpTo } : one));
  }

  proven(): Proven {
    return this.remembered.every(({ markedUpTo }) => markedUpTo === null) ? this.reached : NOTHING_PROVEN;
  }

  copy(): Reader {
    const copy = new Reader();
    const { reached, streams, remembered, orders, came } = this;
    Object.assign(copy, { reached, streams, remembered, orders, came });
    for (const [stream, value] of this.last) copy.last.set(stream, value);
    for (const [stream, value] of this.latest) copy.latest.set(stream, value);
    this.brought.clear();
    return copy;
  }

  /** The latest watermark says more than all that the copy has, on every stream that brought anything. */
  hasMoreMarksThan(copy: Reader): boolean {
    return [...this.brought].every((stream) => (this.latest.get(stream) ?? '') > (copy.last.get(stream) ?? ''));
  }
}

function keyOf(stream: string, { id, generation }: LoggedEvent): string {
  return `${stream} ${id} ${generation}`;
}

function timeOf(entry: Logged): number {
  return entry.kind === 'event' ? entry.at : entry.committed;
}

const FIRST = { generation: 1, replaced: [] as readonly Replaced[] };

export function markOf(run: number, value: string, after: string | null, since: string | null, of = FIRST): Watermark {
  const { generation, replaced } = of;
  return {
    kind: 'watermark',
    source: 's',
    generation,
    node: 'n',
    value,
    run: String(run),
    after,
    since,
    replaced: [...replaced],
  };
}

/** Everything decided before what is proven is there, and what may never have happened in that history waits. */
export function checkClaim(reader: Reader, source: Source): void {
  const { generation, value } = reader.proven();
  if (value === BEFORE_EVERYTHING) return;
  const history = source.events(generation);
  for (const { id, at } of history)
    if (text(at) < value && !reader.orders.has(id))
      throw new Error(`${value} of ${generation} is claimed, and event ${id} of ${text(at)} is missing`);
  const happened = new Set(history.map(({ id }) => id));
  for (const [id, order] of reader.orders)
    if (order.generation < generation && !happened.has(id) && !order.waits)
      throw new Error(`${value} of ${generation} is claimed, and event ${id} of ${order.generation} never happened`);
}
