// What watermarks prove to this consumer, decided without a database, so that it can be tried against every order of
// arrival. A watermark is true of its route; whether this consumer has everything that came on the route is ours to know:
// it may read a topic from the middle, lag behind it, skip a part whose records are gone, or have been restored.
//
// Each stream (the direct route, or one partition of a topic) is a stretch without a hole, from `first` to `value`:
//
//   goes on     the watermark before this one is of the same run and within the stretch
//   begins      the route says that it begins here, or the watermark before this one never came: a new stretch
//   is nothing  one of another run that says less: a delivery of a forwarder that leads no more, and came late
//
// A stretch proves something once it is joined: everything before it was decided before `since`, and everything decided
// before `since` is proven by then, by whatever route. What is proven never goes back, but for a newer generation; what an
// older one proves counts for a newer one as far as nothing was lost between the two.
import { BEFORE_EVERYTHING, type Replaced, type Watermark } from '@ballast/contracts';

export interface Proven {
  readonly generation: number;
  readonly value: string;
}

export interface Stretch {
  readonly run: string;
  readonly generation: number;
  readonly first: string;
  readonly value: string;
  /** Null: not known yet; the next watermark says it. */
  readonly since: string | null;
  readonly joined: boolean;
}

export interface StreamPosition {
  /** A topic's name, or `direct`. */
  readonly route: string;
  readonly partition: number;
  /** Of so many, which have everything together. */
  readonly partitions: number;
  readonly stretch: Stretch;
}

export const NOTHING_PROVEN: Proven = { generation: 0, value: BEFORE_EVERYTHING };

/** The stretch of a stream after one more watermark. */
export function goOn(stretch: Stretch | undefined, mark: Watermark): Stretch {
  const { run, generation, value, after, since } = mark;
  if (stretch !== undefined && generation < stretch.generation) return stretch; // by one that leads no more
  const begun = { run, generation, first: value, value, joined: false };
  if (after === null) return { ...begun, since: value };
  if (stretch === undefined) return { ...begun, since: null };
  if (!isNewer(mark, stretch)) return stretch;
  if (stretch.run !== run) return { ...begun, since: null };
  if (!isWithin(stretch, after)) return { ...begun, since: null };
  const same = generation === stretch.generation;
  return {
    run,
    generation,
    // A newer generation's clock may be behind: what it says next is still within.
    first: same || stretch.first < value ? stretch.first : value,
    value,
    // Another clock's `since` cannot be compared with what this one says.
    since: same ? (stretch.since ?? since) : stretch.joined ? stretch.since : since,
    joined: stretch.joined,
  };
}

/**
 * Joins what can be joined, and says what is proven then by the watermark that came last: nothing of a generation newer than its
 * own, of whose losses it does not speak.
 */
export function prove(
  before: Proven,
  streams: readonly StreamPosition[],
  { generation, replaced }: Pick<Watermark, 'generation' | 'replaced'>,
): { readonly proven: Proven; readonly streams: readonly StreamPosition[] } {
  let proven = before;
  let positions = streams;
  for (;;) {
    positions = positions.map((one) => (canJoin(one.stretch, proven, replaced) ? joined(one) : one));
    let furthest = proven;
    for (const route of new Set(positions.map((one) => one.route))) {
      const reached = provenBy(route, positions);
      if (reached !== null && reached.generation <= generation && isNewer(reached, furthest)) furthest = reached;
    }
    if (furthest === proven) return { proven, streams: positions };
    proven = furthest; // which may join another route's stretch
  }
}

/** What a route proves by itself: the least of its partitions, all joined and of one generation. Null: nothing. */
export function provenBy(route: string, streams: readonly StreamPosition[]): Proven | null {
  const ofRoute = streams.filter((one) => one.route === route);
  const [one] = ofRoute;
  if (one === undefined || ofRoute.length !== one.partitions) return null;
  const { generation } = one.stretch;
  if (ofRoute.some(({ stretch }) => !stretch.joined || stretch.generation !== generation)) return null;
  const [least = BEFORE_EVERYTHING] = ofRoute.map(({ stretch }) => stretch.value).sort();
  return { generation, value: least };
}

function isWithin({ first, value }: Stretch, after: string): boolean {
  return first <= after && after <= value;
}

function isNewer(mark: Proven, than: Proven): boolean {
  return mark.generation > than.generation || (mark.generation === than.generation && mark.value > than.value);
}

function canJoin({ joined, since, generation }: Stretch, proven: Proven, replaced: readonly Replaced[]): boolean {
  if (joined || since === null) return false;
  if (since <= BEFORE_EVERYTHING) return true;
  return since <= proven.value && (generation === proven.generation || since <= common(proven, generation, replaced));
}

/** Everything decided before it is the same in the proven generation and in this newer one. */
function common(proven: Proven, generation: number, replaced: readonly Replaced[]): string {
  const between = replaced.filter((one) => one.generation > proven.generation && one.generation <= generation);
  const [least = BEFORE_EVERYTHING] = between.map(({ from }) => from).sort();
  return least;
}

function joined(position: StreamPosition): StreamPosition {
  return { ...position, stretch: { ...position.stretch, joined: true } };
}
