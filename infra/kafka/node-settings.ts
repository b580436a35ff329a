// server.properties of one node. Every node is broker and controller in one process (KRaft); listeners are on loopback.
import type { Security } from './security.ts';

export interface NodePlace {
  readonly id: number;
  readonly port: number;
  /** Where clients connect: the same, or a proxy in front of it. */
  readonly advertisedPort: number;
  readonly controllerPort: number;
}

const HOST = '127.0.0.1';

/** What every node has in common; a number other than Kafka's own default has its reason beside it. */
function common(nodes: number): Record<string, string | number> {
  const replicas = Math.min(nodes, 3);
  const inSync = Math.max(1, replicas - 1);
  return {
    'auto.create.topics.enable': 'false', // topics are declared, with their partitions (topics.ts)
    'default.replication.factor': replicas,
    'min.insync.replicas': inSync,
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSync,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSync,
    // 50 by default: on one machine only files and time.
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.num.partitions': 4,
    'group.initial.rebalance.delay.ms': 0, // 3 s by default, which every consumer's start would wait
    // After kill -9 the port opens when the old session has run out: 9 s by default, 3 s so.
    'broker.session.timeout.ms': 2_000,
    'broker.heartbeat.interval.ms': 300,
    // 128 MB by default, more than half of the heap.
    'log.cleaner.dedupe.buffer.size': 8_388_608,
    'log.segment.bytes': 67_108_864, // retention removes whole segments: small ones keep the disk bounded
    'log.index.size.max.bytes': 1_048_576,
    'num.network.threads': 2,
    'num.io.threads': 4,
  };
}

export function nodeSettings(
  node: NodePlace,
  all: readonly NodePlace[],
  directory: string,
  security: Security | undefined,
): string {
  const protocol = security === undefined ? ['PLAINTEXT', 'PLAINTEXT'] : ['SASL_SSL', 'SSL'];
  const settings: Record<string, string | number> = {
    'process.roles': 'broker,controller',
    'node.id': node.id,
    'controller.quorum.voters': all.map(({ id, controllerPort }) => `${id}@${HOST}:${controllerPort}`).join(','),
    listeners: `CLIENT://${HOST}:${node.port},CONTROLLER://${HOST}:${node.controllerPort}`,
    'advertised.listeners': `CLIENT://${HOST}:${node.advertisedPort}`,
    'listener.security.protocol.map': `CLIENT:${protocol[0]},CONTROLLER:${protocol[1]}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'CLIENT',
    'log.dirs': directory,
    ...common(all.length),
    ...(security === undefined ? {} : secured(security)),
  };
  return `${Object.entries(settings)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')}\n`;
}

/** Clients and brokers prove a password (SCRAM) over TLS; controllers prove a certificate of our own authority. */
function secured({ caFile, nodeFile, nodePrincipal, passwords, superUsers, brokerUser }: Security) {
  return {
    'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
    'sasl.mechanism.inter.broker.protocol': 'SCRAM-SHA-512',
    'listener.name.client.scram-sha-512.sasl.jaas.config':
      'org.apache.kafka.common.security.scram.ScramLoginModule required ' +
      `username="${brokerUser}" password="${passwords[brokerUser]}";`,
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': nodeFile,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': caFile,
    'listener.name.controller.ssl.client.auth': 'required',
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': [...superUsers.map((user) => `User:${user}`), `User:${nodePrincipal}`].join(';'),
  };
}
