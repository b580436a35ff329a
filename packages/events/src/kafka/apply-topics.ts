// Makes the cluster hold what topics.ts declares. Safe to repeat; run by whoever has the right, before anybody publishes
// (an unknown topic would be retried for half a minute).
import kafkajs from 'kafkajs';
import { connectKafka, type KafkaConnection, type KafkaLogger } from './connection.ts';
import { access, type DeclaredTopic, topics } from './topics.ts';

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ConfigResourceTypes, ResourcePatternTypes } = kafkajs;

const MAX_REPLICAS = 3;
const SETTLE_LIMIT_MS = 10_000;
const POLL_MS = 50;

/** Creates what is missing. Rejects when a topic exists with another number of partitions. */
export async function ensureTopics(connection: KafkaConnection, logger: KafkaLogger): Promise<void> {
  await asAdmin(connection, logger, async (admin) => {
    const replicas = Math.min(MAX_REPLICAS, (await admin.describeCluster()).brokers.length);
    const known = new Set(await admin.listTopics());
    const missing = topics.filter(({ name }) => !known.has(name));
    if (missing.length > 0) {
      const made = missing.map(({ name, partitions, retentionMs }) => ({
        topic: name,
        numPartitions: partitions,
        replicationFactor: replicas,
        configEntries: [
          { name: 'retention.ms', value: String(retentionMs) },
          { name: 'min.insync.replicas', value: String(Math.max(1, replicas - 1)) },
        ],
      }));
      await admin.createTopics({ topics: made, waitForLeaders: false });
      logger.info({ topics: missing.map(({ name }) => name), replicas }, 'Kafka topics created');
    }
    await untilLed(admin);
    const kept = topics.filter(({ name }) => known.has(name));
    if (kept.length === 0) return;
    await compareRetention(admin, kept, logger).catch((error: Error) =>
      // Whoever may write need not be allowed to read settings; publishing does not hang on it.
      logger.warn({ error: error.message }, 'the retention of the Kafka topics could not be compared'),
    );
  });
}

/** Somebody set it otherwise on purpose, or this file changed: a person decides, the data stay meanwhile. */
async function compareRetention(admin: kafkajs.Admin, kept: readonly DeclaredTopic[], logger: KafkaLogger) {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: kept.map(({ name }) => ({ type: ConfigResourceTypes.TOPIC, name, configNames: ['retention.ms'] })),
  });
  for (const { name, retentionMs } of kept) {
    const found = resources.find(({ resourceName }) => resourceName === name)?.configEntries[0]?.configValue;
    if (found !== String(retentionMs))
      logger.warn({ topic: name, found_ms: found, declared_ms: retentionMs }, 'Kafka topic has another retention');
  }
}

/** A topic just made has no leaders for a moment; one with another number of partitions would reorder orders. */
async function untilLed(admin: kafkajs.Admin): Promise<void> {
  const until = performance.now() + SETTLE_LIMIT_MS;
  for (;;) {
    // Rejects while a leader is missing.
    const found = await admin
      .fetchTopicMetadata({ topics: topics.map(({ name }) => name) })
      .catch((error: Error) => error);
    if (!(found instanceof Error)) return comparePartitions(found.topics);
    if (performance.now() > until) throw found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function comparePartitions(found: readonly kafkajs.ITopicMetadata[]): void {
  for (const { name, partitions } of topics) {
    const there = found.find((topic) => topic.name === name)?.partitions.length;
    if (there !== partitions)
      throw new Error(`Topic ${name} has ${there} partitions, declared are ${partitions}: it would reorder orders.`);
  }
}

/** ACLs of a secured cluster, as declared; what is not declared stays as it is. */
export async function ensureAccess(connection: KafkaConnection, logger: KafkaLogger): Promise<void> {
  const base = { host: '*', permissionType: AclPermissionTypes.ALLOW };
  const acl = access.flatMap(({ user, topic, operations, groupPrefix }) => [
    ...operations.map((operation) => ({
      ...base,
      principal: `User:${user}`,
      operation: operation === 'read' ? AclOperationTypes.READ : AclOperationTypes.WRITE,
      resourceType: AclResourceTypes.TOPIC,
      resourceName: topic.name,
      resourcePatternType: ResourcePatternTypes.LITERAL,
    })),
    ...(groupPrefix === undefined
      ? []
      : [
          {
            ...base,
            principal: `User:${user}`,
            operation: AclOperationTypes.READ,
            resourceType: AclResourceTypes.GROUP,
            resourceName: groupPrefix,
            resourcePatternType: ResourcePatternTypes.PREFIXED,
          },
        ]),
  ]);
  await asAdmin(connection, logger, async (admin) => {
    await admin.createAcls({ acl });
    // Brokers learn of them a moment later: whoever starts now would be refused.
    const until = performance.now() + SETTLE_LIMIT_MS;
    while ((await countRights(admin)) < acl.length) {
      if (performance.now() > until) throw new Error('Kafka took the ACLs, and does not list them');
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  });
}

async function countRights(admin: kafkajs.Admin): Promise<number> {
  const { resources } = await admin.describeAcls({
    resourceType: AclResourceTypes.ANY,
    resourcePatternType: ResourcePatternTypes.ANY,
    operation: AclOperationTypes.ANY,
    permissionType: AclPermissionTypes.ANY,
  });
  return resources.reduce((sum, { acls }) => sum + acls.length, 0);
}

/** The offset that each partition's next record gets, by partition. What is lower than it once was has been wiped. */
export function endOffsets(connection: KafkaConnection, topic: DeclaredTopic, logger: KafkaLogger): Promise<number[]> {
  return asAdmin(connection, logger, async (admin) => {
    const ends = new Array<number>(topic.partitions).fill(0);
    for (const { partition, high } of await admin.fetchTopicOffsets(topic.name)) ends[partition] = Number(high);
    return ends;
  });
}

async function asAdmin<T>(
  connection: KafkaConnection,
  logger: KafkaLogger,
  work: (admin: kafkajs.Admin) => Promise<T>,
): Promise<T> {
  const admin = connectKafka(connection, 'ballast-admin', logger).admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}
