// A peer with the few answers that publishing needs, so that a test decides what the cluster looks like.
import { type AddressInfo, createServer, type Socket } from 'node:net';

export interface ScriptedBroker {
  readonly address: string;
  /** What it says the topic has; it takes records for every partition all the same. */
  partitions: number;
  /** It stores nothing: NOT_LEADER_OR_FOLLOWER. */
  refuse: boolean;
  /** Since the start. */
  connections(): number;
  metadataRead(): number;
  /** Ends every connection; new ones are taken. */
  hangUp(): void;
  close(): void;
}

const NODE = 1;
const METADATA = 3;
const INIT_PRODUCER_ID = 22;
const NOT_LEADER = 6;

export async function startScriptedBroker(topic: string, partitions: number, atPort = 0): Promise<ScriptedBroker> {
  const sockets = new Set<Socket>();
  let connections = 0;
  let metadataRead = 0;
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    let received = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      for (; received.length >= 4 && received.length >= 4 + received.readInt32BE(0); ) {
        const end = 4 + received.readInt32BE(0);
        const answer = answerTo(received.readInt16BE(4), received.subarray(12, end));
        socket.write(Buffer.concat([int32(4 + answer.length), received.subarray(8, 12), answer]));
        received = received.subarray(end);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(atPort, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;

  function answerTo(api: number, afterNumber: Buffer): Buffer {
    if (api === METADATA) return metadata();
    if (api === INIT_PRODUCER_ID) return Buffer.concat([int32(0), int16(0), Buffer.alloc(8), int16(0)]);
    return produced(afterNumber.subarray(2 + afterNumber.readInt16BE(0)));
  }

  function metadata(): Buffer {
    metadataRead++;
    const list = Array.from({ length: broker.partitions }, (_, partition) =>
      Buffer.concat([int16(0), ...[partition, NODE, 1, NODE, 1, NODE, 0].map(int32)]),
    );
    const node = [int32(1), int32(NODE), text('127.0.0.1'), int32(port), int16(-1)];
    const head = [int32(0), ...node, int16(-1), int32(NODE), int32(1), int16(0), text(topic), Buffer.of(0)];
    return Buffer.concat([...head, int32(list.length), ...list]);
  }

  /** No transactional id, acks, timeout, one topic: then its partitions, each with a batch. All of it is stored, at 0. */
  function produced(request: Buffer): Buffer {
    let at = 2 + 2 + 4 + 4;
    at += 2 + request.readInt16BE(at);
    const answers: Buffer[] = [];
    const count = request.readInt32BE(at);
    at += 4;
    for (let left = count; left > 0; left--) {
      answers.push(
        request.subarray(at, at + 4),
        int16(broker.refuse ? NOT_LEADER : 0),
        Buffer.alloc(8),
        Buffer.alloc(16),
      );
      at += 8 + request.readInt32BE(at + 4);
    }
    return Buffer.concat([int32(1), text(topic), int32(count), ...answers, int32(0)]);
  }

  const broker: ScriptedBroker = {
    address: `127.0.0.1:${port}`,
    partitions,
    refuse: false,
    connections: () => connections,
    metadataRead: () => metadataRead,
    hangUp: () => {
      for (const socket of sockets) socket.destroy();
    },
    close: () => {
      broker.hangUp();
      server.close();
    },
  };
  return broker;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function text(value: string): Buffer {
  return Buffer.concat([int16(value.length), Buffer.from(value)]);
}
