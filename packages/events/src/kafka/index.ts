// The port: everything that knows kafkajs lies behind these names.
export { endOffsets, ensureAccess, ensureTopics } from './apply-topics.ts';
export { type KafkaConnection, type KafkaLogger, kafkaConnectionSchema } from './connection.ts';
export { type KafkaConsumer, type KafkaConsumerOptions, openKafkaConsumer } from './kafka-consumer.ts';
export { proveClient } from './prove-client.ts';
export {
  type FailureReason,
  MAX_PENDING_RECORDS,
  openPublisher,
  type Publisher,
  type PublisherOptions,
  PublishFailed,
} from './publisher.ts';
export type { OutgoingEvent, OutgoingMessage } from './record.ts';
export { readTopicPlace, type TopicPlace, whatIsLost } from './topic-place.ts';
export {
  access,
  type DeclaredAccess,
  type DeclaredTopic,
  kafkaUsers,
  ordersTopic,
  partitionOf,
  topics,
} from './topics.ts';
