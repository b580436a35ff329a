// Every topic, who may touch it, and which partition an order goes to: declared here, and nowhere else. Code creates them
// from this file (apply-topics.ts); infra/kafka/README.md points here.

export interface DeclaredTopic {
  readonly name: string;
  readonly purpose: string;
  /** Never changed later: an order's events must stay in one partition. More partitions mean a new topic (`.v2`). */
  readonly partitions: number;
  readonly retentionMs: number;
}

const HOUR_MS = 3_600_000;

export const ordersTopic: DeclaredTopic = {
  name: 'ballast.orders.v1',
  purpose: 'every event of every order, and the watermarks of the order database',
  partitions: 12,
  // The journal keeps 400 days and is where a consumer older than this starts again from.
  retentionMs: 7 * 24 * HOUR_MS,
};

export const clientCheckTopic: DeclaredTopic = {
  name: 'ballast.client-check.v1',
  purpose: 'what the publisher writes and reads back before it trusts its client',
  partitions: 1,
  retentionMs: HOUR_MS,
};

export const topics: readonly DeclaredTopic[] = [ordersTopic, clientCheckTopic];

export interface DeclaredAccess {
  readonly user: string;
  readonly topic: DeclaredTopic;
  readonly operations: readonly ('read' | 'write')[];
  /** Names of the consumer groups that the user may be in begin with this. */
  readonly groupPrefix?: string;
}

/** Read includes describe, and so does write; an idempotent producer needs nothing beyond write. */
export const access: readonly DeclaredAccess[] = [
  { user: 'forwarding', topic: ordersTopic, operations: ['write'] },
  { user: 'forwarding', topic: clientCheckTopic, operations: ['read', 'write'], groupPrefix: clientCheckTopic.name },
  { user: 'query', topic: ordersTopic, operations: ['read'], groupPrefix: 'ballast.query' },
  { user: 'refund', topic: ordersTopic, operations: ['read'], groupPrefix: 'ballast.refund' },
  { user: 'settlement', topic: ordersTopic, operations: ['read'], groupPrefix: 'ballast.settlement' },
  { user: 'sync', topic: ordersTopic, operations: ['read'], groupPrefix: 'ballast.sync' },
];

export const kafkaUsers: readonly string[] = [...new Set(access.map(({ user }) => user))];

/**
 * An order's partition: the last 32 bits of its UUIDv7, which are random, modulo the number of partitions. Not the
 * client's own hash of the key, so that another client, or another language, sends the order to the same place.
 */
export function partitionOf(orderId: string, partitions: number): number {
  return Number.parseInt(orderId.slice(-8), 16) % partitions;
}
