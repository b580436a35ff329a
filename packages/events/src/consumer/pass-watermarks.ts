// Takes the watermarks of one delivery, after its events: in the transaction that stores what they prove, the subscriber
// is told. With a newer generation it is told once the orders are marked that a lost history may have changed.
import { BEFORE_EVERYTHING, type Progress, type Replaced } from '@ballast/contracts';
import type { Knex } from 'knex';
import type { ReceivedWatermark, Stream } from './read-messages.ts';
import { isMarked, rememberReplaced } from './replaced.sql.ts';
import {
  lockProven,
  type Node,
  type ProvenOfNode,
  readReached,
  readStreams,
  storeProven,
  storeStreams,
} from './watermarks.sql.ts';
import { goOn, type Proven, prove, provenBy, type StreamPosition } from './watermarks.ts';

/** Everything in it. */
const DIRECT: Stream = { route: 'direct', partition: 0, partitions: 1 };

/** Everything decided before each mark's value is applied, held or parked. */
export type OnWatermark = (trx: Knex.Transaction, mark: ProvenOfNode) => Promise<void>;

/** In the order in which they came. False: before they prove anything, orders are to be marked. */
export async function passWatermarks(
  trx: Knex.Transaction,
  marks: readonly ReceivedWatermark[],
  onWatermark: OnWatermark | undefined,
): Promise<boolean> {
  let allMarked = true;
  for (const [key, ofNode] of Map.groupBy(marks, nodeKey)) {
    const [sample] = ofNode;
    if (sample === undefined) throw new Error('BUG: a group of nothing');
    const node = { source: sample.source, node: sample.node };
    const before = await lockProven(trx, node);
    let streams: readonly StreamPosition[] = (await readStreams(trx)).filter((one) => nodeKey(one) === key);
    let proven: Proven = before;
    let replaced: readonly Replaced[] = [];
    for (const mark of ofNode) {
      ({ proven, streams } = prove(proven, moved(streams, mark), mark));
      if (proven.generation > before.generation) replaced = mark.replaced;
    }
    await storeStreams(trx, node, streams);
    if (proven === before) continue;
    const since = replaced.filter(({ generation }) => generation > before.generation);
    if (since.length > 0) await rememberReplaced(trx, node.source, since);
    await storeProven(trx, node, proven);
    if (!(await isMarked(trx, node.source))) allMarked = false;
    else if (proven.value > BEFORE_EVERYTHING) await onWatermark?.(trx, { ...node, ...proven });
  }
  return allMarked;
}

function moved(streams: readonly StreamPosition[], mark: ReceivedWatermark): StreamPosition[] {
  const stream = mark.stream ?? DIRECT;
  const isIt = (one: Stream) => one.route === stream.route && one.partition === stream.partition;
  const known = streams.find(isIt);
  return [...streams.filter((one) => !isIt(one)), { ...stream, stretch: goOn(known?.stretch, mark) }];
}

/** How far this consumer is with each node it has heard of. */
export async function readProgress(knex: Knex): Promise<Progress[]> {
  const streams = await readStreams(knex);
  const reached = new Map((await readReached(knex)).map((one) => [nodeKey(one), one]));
  return [...Map.groupBy(streams, nodeKey)].flatMap(([key, ofNode]) => {
    const [sample] = ofNode;
    if (sample === undefined) return [];
    const { source, node, stretch } = sample;
    const { generation, value } = reached.get(key) ?? { generation: stretch.generation, value: BEFORE_EVERYTHING };
    return [{ source, node, generation, value, by_topic: byTopic(ofNode, generation) }];
  });
}

function byTopic(streams: readonly StreamPosition[], generation: number): string | null {
  let furthest: string | null = null;
  for (const route of new Set(streams.map((one) => one.route))) {
    if (route === DIRECT.route) continue;
    const reached = provenBy(route, streams);
    if (reached?.generation === generation && (furthest === null || reached.value > furthest)) furthest = reached.value;
  }
  return furthest;
}

function nodeKey({ source, node }: Node): string {
  return `${source} ${node}`;
}
