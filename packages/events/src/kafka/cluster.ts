// The cluster as a publisher sees it: who leads which partition, one link to each node that is needed, and the identity
// that makes sending idempotent.
import { type BrokerLink, openLink } from './broker-link.ts';
import type { KafkaConnection } from './connection.ts';
import {
  type ClusterView,
  errorNames,
  INIT_PRODUCER_ID,
  initProducerRequest,
  METADATA,
  metadataRequest,
  passingErrors,
  readInitProducer,
  readMetadata,
} from './protocol.ts';
import type { ProducerIdentity } from './record-batch.ts';
import type { DeclaredTopic } from './topics.ts';

export interface Cluster {
  readonly identity: ProducerIdentity;
  /** The node that leads each partition, as last read; -1: nobody. */
  leaders(): readonly number[];
  /** The link to a node, opened when there is none. Rejects when the node cannot be reached. */
  link(node: number): Promise<BrokerLink>;
  /** Reads the view again from any node that answers; calls that overlap share one reading. */
  refresh(): Promise<void>;
  close(): void;
}

/** A broker just started hands out identities a moment later. */
const IDENTITY_LIMIT_MS = 10_000;
const POLL_MS = 100;

export async function openCluster({ brokers, security }: KafkaConnection, topic: DeclaredTopic): Promise<Cluster> {
  const links = new Map<string, { readonly opening: Promise<BrokerLink>; opened?: BrokerLink }>();
  let view: ClusterView = { nodes: new Map(), leaders: [] };
  let refreshing: Promise<void> | undefined;
  let closed = false;

  /** Who comes while it is being opened shares it; a failed try, or a broken link, is followed by another. */
  function linkTo(address: string): Promise<BrokerLink> {
    if (closed) return Promise.reject(new Error('the cluster was left'));
    const known = links.get(address);
    if (known !== undefined && known.opened?.open !== false) return known.opening;
    const entry: { readonly opening: Promise<BrokerLink>; opened?: BrokerLink } = {
      opening: openLink(address, security),
    };
    links.set(address, entry);
    entry.opening.then(
      (opened) => {
        entry.opened = opened;
      },
      () => links.delete(address),
    );
    return entry.opening;
  }

  async function readView(): Promise<void> {
    const failures: unknown[] = [];
    for (const address of new Set([...view.nodes.values(), ...brokers])) {
      try {
        const link = await linkTo(address);
        const read = readMetadata(await link.request(METADATA, metadataRequest(topic.name)), topic.name);
        refuseOtherSize(read.leaders.length);
        view = read;
        return;
      } catch (error) {
        failures.push(error);
      }
    }
    throw failures.at(-1); // the last is of the configured brokers
  }

  /** A partition that the view does not have would have no leader, and what is for it would wait for ever. */
  function refuseOtherSize(partitions: number): void {
    if (partitions !== topic.partitions)
      throw new Error(`Topic ${topic.name} has ${partitions} partitions, declared are ${topic.partitions}.`);
  }

  function refresh(): Promise<void> {
    refreshing ??= readView().finally(() => {
      refreshing = undefined;
    });
    return refreshing;
  }

  async function link(node: number): Promise<BrokerLink> {
    const address = view.nodes.get(node);
    if (address === undefined) throw new Error(node < 0 ? 'a partition has no leader' : `node ${node} is unknown`);
    return linkTo(address);
  }

  function close(): void {
    closed = true;
    for (const { opening } of links.values())
      opening.then(
        (opened) => opened.close(),
        () => undefined, // it never opened
      );
  }

  try {
    await refresh();
    const identity = await takeIdentity(() => linkTo([...view.nodes.values()][0] ?? ''));
    return { identity, leaders: () => view.leaders, link, refresh, close };
  } catch (error) {
    close();
    throw error;
  }
}

async function takeIdentity(anyLink: () => Promise<BrokerLink>): Promise<ProducerIdentity> {
  const until = performance.now() + IDENTITY_LIMIT_MS;
  for (;;) {
    const link = await anyLink();
    const { error, id, epoch } = readInitProducer(await link.request(INIT_PRODUCER_ID, initProducerRequest()));
    if (error === 0) return { id, epoch };
    if (!passingErrors.has(error) || performance.now() > until)
      throw new Error(`Kafka gives no producer identity: ${errorNames[error] ?? error}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
