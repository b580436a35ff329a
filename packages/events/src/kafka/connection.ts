// The only file that makes kafkajs clients. Its retry settings are ours: its own wait 22 s for a dead broker, and change
// under NODE_ENV=test (docs/facts.md).
import kafkajs from 'kafkajs';
import { z } from 'zod';

/** `kafka` in a service's configuration. Without `security`: plain text, for brokers on loopback. */
export const kafkaConnectionSchema = z.strictObject({
  brokers: z
    .array(z.string().regex(/^[^\s:]+:\d+$/, 'must be host:port'))
    .min(1)
    .readonly(),
  security: z.strictObject({ ca: z.string(), username: z.string(), password: z.string() }).optional(),
});

export type KafkaConnection = z.infer<typeof kafkaConnectionSchema>;

/** The little of pino that is needed here. */
export interface KafkaLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A broker on the same network answers a connect in milliseconds. */
const CONNECT_TIMEOUT_MS = 1_000;
/** Beyond this an answer is not waited for: what was sent is unknown, and sent again. */
const REQUEST_TIMEOUT_MS = 3_000;

export function connectKafka(connection: KafkaConnection, clientId: string, logger: KafkaLogger): kafkajs.Kafka {
  const { brokers, security } = connection;
  return new kafkajs.Kafka({
    clientId,
    brokers: [...brokers],
    connectionTimeout: CONNECT_TIMEOUT_MS,
    authenticationTimeout: 5_000,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: { retries: 3, initialRetryTime: 100, maxRetryTime: 1_000 },
    logLevel: kafkajs.logLevel.WARN,
    logCreator: () => (entry) => passOn(entry, logger),
    ...(security === undefined
      ? {}
      : {
          ssl: { ca: [security.ca] },
          sasl: { mechanism: 'scram-sha-512', username: security.username, password: security.password },
        }),
  });
}

/** kafkajs calls errors what it tries again; only what reaches us as a rejection is one, and we log that ourselves. */
function passOn({ namespace, log }: kafkajs.LogEntry, logger: KafkaLogger): void {
  const { message, error, broker, groupId } = log;
  logger.warn({ kafkajs: namespace, error, broker, group: groupId }, message);
}
