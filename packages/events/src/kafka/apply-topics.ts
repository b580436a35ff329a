// Makes the cluster hold what topics.ts declares. Safe to repeat; run by whoever has the right, before anybody publishes
// (an unknown topic would be retried for half a minute).
import kafkajs from 'kafkajs';
import { connectKafka, type KafkaConnection, type KafkaLogger } from './connection.ts';
import { access, type DeclaredTopic, topics } from './topics.ts';

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ConfigResourceTypes, ResourcePatternTypes } = kafkajs;

const SETTLE_LIMIT_MS = 10_000;
const POLL_MS = 50;

/**
 * Creates what is missing, with so many copies of every record: not with fewer because a broker is away at the moment, as nobody
 * would add them later. Resolves to how what was there differs from what is declared, null: not at all; a person decides,
 * the data stay meanwhile. Rejects when there are too few brokers, and when a topic has another number of partitions.
 */
export async function ensureTopics(
  connection: KafkaConnection,
  replicas: number,
  logger: KafkaLogger,
): Promise<string | null> {
  return asAdmin(connection, logger, async (admin) => {
    const known = new Set(await admin.listTopics());
    const missing = topics.filter(({ name }) => !known.has(name));
    if (missing.length > 0) {
      await createTopics(admin, missing, replicas);
      logger.info({ topics: missing.map(({ name }) => name), replicas }, 'Kafka topics created');
    }
    const found = await untilLed(admin);
    comparePartitions(found);
    const settings = await readSettings(admin).catch((error: Error) => {
      // Whoever may write need not be allowed to read settings; publishing does not hang on it.
      logger.warn({ error: error.message }, 'the settings of the Kafka topics could not be compared');
      return undefined;
    });
    const differences = topics.flatMap((topic) => differencesOf(topic, found, settings, replicas));
    return differences.length === 0 ? null : differences.join('; ');
  });
}

async function createTopics(admin: kafkajs.Admin, missing: readonly DeclaredTopic[], replicas: number): Promise<void> {
  const made = missing.map(({ name, partitions, retentionMs }) => ({
    topic: name,
    numPartitions: partitions,
    replicationFactor: replicas,
    configEntries: Object.entries(settingsOf(retentionMs, replicas)).map(([name, value]) => ({ name, value })),
  }));
  try {
    await admin.createTopics({ topics: made, waitForLeaders: false });
  } catch (cause) {
    const reasons = cause instanceof kafkajs.KafkaJSAggregateError ? cause.errors : [cause];
    throw new Error(`Kafka topics of ${replicas} replicas cannot be made: ${reasons.join(', ')}`, { cause });
  }
}

function settingsOf(retentionMs: number, replicas: number): Readonly<Record<string, string>> {
  return { 'retention.ms': String(retentionMs), 'min.insync.replicas': String(Math.max(1, replicas - 1)) };
}

async function readSettings(admin: kafkajs.Admin): Promise<ReadonlyMap<string, string>> {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: topics.map(({ name, retentionMs }) => ({
      type: ConfigResourceTypes.TOPIC,
      name,
      configNames: Object.keys(settingsOf(retentionMs, 1)),
    })),
  });
  return new Map(
    resources.flatMap(({ resourceName, configEntries }) =>
      configEntries.map(({ configName, configValue }) => [`${resourceName} ${configName}`, configValue] as const),
    ),
  );
}

function differencesOf(
  { name, retentionMs }: DeclaredTopic,
  found: readonly kafkajs.ITopicMetadata[],
  settings: ReadonlyMap<string, string> | undefined,
  replicas: number,
): string[] {
  const partitions = found.find((topic) => topic.name === name)?.partitions ?? [];
  const copies = Math.min(...partitions.map((partition) => partition.replicas.length));
  const differences = copies < replicas ? [`${name} has ${copies} replicas, wanted are ${replicas}`] : [];
  if (settings === undefined) return differences;
  for (const [setting, wanted] of Object.entries(settingsOf(retentionMs, replicas))) {
    const is = settings.get(`${name} ${setting}`);
    if (is !== wanted) differences.push(`${setting} of ${name} is ${is}, declared is ${wanted}`);
  }
  return differences;
}

/** A topic just made has no leaders for a moment. */
async function untilLed(admin: kafkajs.Admin): Promise<readonly kafkajs.ITopicMetadata[]> {
  const until = performance.now() + SETTLE_LIMIT_MS;
  for (;;) {
    // Rejects while a leader is missing.
    const found = await admin
      .fetchTopicMetadata({ topics: topics.map(({ name }) => name) })
      .catch((error: Error) => error);
    if (!(found instanceof Error)) return found.topics;
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
