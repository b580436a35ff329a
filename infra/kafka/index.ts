export { missingForKafka } from './fetch-broker.ts';
export { type KafkaConnection, type KafkaOptions, type RunningKafka, startKafka } from './start-kafka.ts';
