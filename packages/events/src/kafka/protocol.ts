// The five requests that publishing needs, in versions that every broker from 2.1 to 4.4 answers.

/** api key, version. */
export const PRODUCE = [0, 7] as const;
export const METADATA = [3, 6] as const;
export const SASL_HANDSHAKE = [17, 1] as const;
/** Metadata again, in the first form that tells a topic's id: Kafka 3.1 and later. */
export const TOPIC_ID = [3, 12] as const;
export const INIT_PRODUCER_ID = [22, 1] as const;
export const SASL_AUTHENTICATE = [36, 1] as const;

export type Api = readonly [key: number, version: number];

const ALL_IN_SYNC_REPLICAS = -1;

export interface ClusterView {
  /** `host:port` by node id. */
  readonly nodes: ReadonlyMap<number, string>;
  /** The node that leads each partition; -1: nobody at the moment. */
  readonly leaders: readonly number[];
}

export interface PartitionAnswer {
  readonly partition: number;
  readonly error: number;
  readonly baseOffset: number;
}

/** What the protocol's error numbers say, as far as publishing meets them. */
export const errorNames: Readonly<Record<number, string>> = {
  2: 'CORRUPT_MESSAGE',
  3: 'UNKNOWN_TOPIC_OR_PARTITION',
  5: 'LEADER_NOT_AVAILABLE',
  6: 'NOT_LEADER_OR_FOLLOWER',
  7: 'REQUEST_TIMED_OUT',
  10: 'MESSAGE_TOO_LARGE',
  14: 'COORDINATOR_LOAD_IN_PROGRESS',
  15: 'COORDINATOR_NOT_AVAILABLE',
  18: 'RECORD_LIST_TOO_LARGE',
  19: 'NOT_ENOUGH_REPLICAS',
  20: 'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  29: 'TOPIC_AUTHORIZATION_FAILED',
  31: 'CLUSTER_AUTHORIZATION_FAILED',
  33: 'UNSUPPORTED_SASL_MECHANISM',
  45: 'OUT_OF_ORDER_SEQUENCE_NUMBER',
  46: 'DUPLICATE_SEQUENCE_NUMBER',
  47: 'INVALID_PRODUCER_EPOCH',
  56: 'KAFKA_STORAGE_ERROR',
  58: 'SASL_AUTHENTICATION_FAILED',
  59: 'UNKNOWN_PRODUCER_ID',
  87: 'INVALID_RECORD',
};

/** It may be otherwise in a moment, and sending the same again is safe. Everything else is a refusal. */
export const passingErrors: ReadonlySet<number> = new Set([2, 3, 5, 6, 7, 14, 15, 19, 20, 56]);

export function metadataRequest(topic: string): Buffer {
  return Buffer.concat([int32(1), text(topic), Buffer.from([0])]); // 0: do not create it
}

/** Throws when the topic is not there or not ours to see. */
export function readMetadata(answer: Buffer, topic: string): ClusterView {
  const reader = new Reader(answer);
  reader.int32(); // throttled for
  const nodes = new Map<number, string>();
  for (let left = reader.int32(); left > 0; left--) {
    const node = reader.int32();
    nodes.set(node, `${reader.text()}:${reader.int32()}`);
    reader.text(); // rack
  }
  reader.text(); // cluster id
  reader.int32(); // controller
  if (reader.int32() !== 1) throw new Error('Kafka answered for another number of topics');
  const error = reader.int16();
  if (error !== 0 && error !== 5) throw new Error(`Topic ${topic}: ${errorNames[error] ?? error}`);
  reader.text();
  reader.skip(1);
  const leaders: number[] = [];
  for (let left = reader.int32(); left > 0; left--) {
    reader.int16(); // a missing leader is told by the leader's number
    const partition = reader.int32();
    leaders[partition] = reader.int32();
    for (let lists = 0; lists < 3; lists++) reader.skip(reader.int32() * 4); // replicas, in sync, offline
  }
  return { nodes, leaders };
}

/** In the newer encoding: lengths are varints of one more, and every structure ends with its tagged fields, of which none are. */
export function topicIdRequest(topic: string): Buffer {
  const name = Buffer.from(topic); // shorter than 128 bytes: one byte of varint
  const none = [0];
  const one = [2, ...new Array<number>(16).fill(0), name.length + 1, ...name, ...none];
  return Buffer.from([...none, ...one, 0, 0, ...none]); // the head's tagged fields; do not create it; no rights, please
}

export function readTopicId(answer: Buffer, topic: string): string {
  const reader = new Reader(answer);
  reader.skip(1 + 4); // the head's tagged fields, throttled for
  for (let left = reader.varint() - 1; left > 0; left--) {
    reader.skip(4); // node
    reader.skip(reader.varint() - 1); // host
    reader.skip(4); // port
    reader.skip(Math.max(0, reader.varint() - 1)); // rack
    reader.skip(1);
  }
  reader.skip(Math.max(0, reader.varint() - 1)); // cluster id
  reader.skip(4); // controller
  if (reader.varint() !== 2) throw new Error('Kafka answered for another number of topics');
  const error = reader.int16();
  if (error !== 0 && error !== 5) throw new Error(`Topic ${topic}: ${errorNames[error] ?? error}`);
  reader.skip(Math.max(0, reader.varint() - 1)); // name
  return reader.hex(16);
}

/** For a producer without transactions. */
export function initProducerRequest(): Buffer {
  return Buffer.concat([text(null), int32(0)]);
}

export function readInitProducer(answer: Buffer): { error: number; id: bigint; epoch: number } {
  const reader = new Reader(answer);
  reader.int32();
  return { error: reader.int16(), id: reader.int64(), epoch: reader.int16() };
}

/** In parts, so that the batches are not copied once more. */
export function produceRequest(
  topic: string,
  timeoutMs: number,
  batches: readonly { readonly partition: number; readonly bytes: Buffer }[],
): Buffer[] {
  const head = [
    text(null),
    int16(ALL_IN_SYNC_REPLICAS),
    int32(timeoutMs),
    int32(1),
    text(topic),
    int32(batches.length),
  ];
  return [...head, ...batches.flatMap(({ partition, bytes }) => [int32(partition), int32(bytes.length), bytes])];
}

export function readProduce(answer: Buffer): PartitionAnswer[] {
  const reader = new Reader(answer);
  const answers: PartitionAnswer[] = [];
  for (let topics = reader.int32(); topics > 0; topics--) {
    reader.text();
    for (let left = reader.int32(); left > 0; left--) {
      answers.push({ partition: reader.int32(), error: reader.int16(), baseOffset: Number(reader.int64()) });
      reader.skip(16); // time of append, start of the log
    }
  }
  return answers;
}

export function saslHandshakeRequest(mechanism: string): Buffer {
  return text(mechanism);
}

export function readSaslHandshake(answer: Buffer): { error: number } {
  return { error: new Reader(answer).int16() };
}

export function saslAuthenticateRequest(message: Buffer): Buffer {
  return Buffer.concat([int32(message.length), message]);
}

export function readSaslAuthenticate(answer: Buffer): { error: number; reason: string | null; message: Buffer } {
  const reader = new Reader(answer);
  return { error: reader.int16(), reason: reader.text(), message: reader.bytes() };
}

/** Length, api, number and our name, before the body. */
export function requestHead([key, version]: Api, number: number, clientId: string, bodyBytes: number): Buffer {
  const name = text(clientId);
  return Buffer.concat([int32(8 + name.length + bodyBytes), int16(key), int16(version), int32(number), name]);
}

function int16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function text(value: string | null): Buffer {
  if (value === null) return int16(-1);
  const bytes = Buffer.from(value);
  return Buffer.concat([int16(bytes.length), bytes]);
}

/** Reads past the end throw a RangeError: an answer of another shape is never half believed. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  #step(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    return at;
  }
  skip(bytes: number): void {
    this.#step(bytes);
  }
  int16(): number {
    return this.#bytes.readInt16BE(this.#step(2));
  }
  int32(): number {
    return this.#bytes.readInt32BE(this.#step(4));
  }
  int64(): bigint {
    return this.#bytes.readBigInt64BE(this.#step(8));
  }
  varint(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#bytes.readUInt8(this.#step(1));
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  hex(bytes: number): string {
    const at = this.#step(bytes);
    if (at + bytes > this.#bytes.length) throw new RangeError('the answer ends too early');
    return this.#bytes.toString('hex', at, at + bytes);
  }
  text(): string | null {
    const length = this.int16();
    if (length < 0) return null;
    const at = this.#step(length);
    return this.#bytes.toString('utf8', at, at + length);
  }
  bytes(): Buffer {
    const length = this.int32();
    const at = this.#step(Math.max(0, length));
    return this.#bytes.subarray(at, at + Math.max(0, length));
  }
}
