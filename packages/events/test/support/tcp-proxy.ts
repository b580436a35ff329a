// A TCP proxy that can lose one acknowledgement: it passes a produce request on to the broker, and closes the connection
// when the answer comes, so that the client cannot know whether its records were appended.
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

const PRODUCE = 0;
const HEADER_BYTES = 6; // length (4), key of the request (2)

export interface CuttingProxy {
  readonly port: number;
  /** The broker behind; known only after it has started. */
  pointTo(port: number): void;
  /** Loses the answers of the next `times` produce requests. */
  cutAnswers(times: number): void;
  /** How many it has lost. */
  cuts(): number;
  close(): Promise<void>;
}

export async function startCuttingProxy(): Promise<CuttingProxy> {
  let target = 0;
  let left = 0;
  let cuts = 0;
  const sockets = new Set<Socket>();

  const server = createServer((client) => {
    const broker = connect(target, '127.0.0.1');
    let losing = false;
    let rest = 0; // bytes of the present request still to come
    const end = () => {
      client.destroy();
      broker.destroy();
    };
    for (const socket of [client, broker]) {
      sockets.add(socket);
      socket.on('error', end);
      socket.on('close', () => {
        sockets.delete(socket);
        end();
      });
    }
    client.on('data', (chunk) => {
      for (let at = 0; at < chunk.length; ) {
        if (rest === 0 && chunk.length - at >= HEADER_BYTES) {
          rest = 4 + chunk.readInt32BE(at);
          if (chunk.readInt16BE(at + 4) === PRODUCE && left > 0) losing = true;
        }
        const passed = Math.min(rest, chunk.length - at);
        if (passed === 0) break; // a header split over two segments: not seen with requests this small
        at += passed;
        rest -= passed;
      }
      broker.write(chunk);
    });
    broker.on('data', (chunk) => {
      if (!losing) client.write(chunk);
      else {
        left--;
        cuts++;
        end();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    pointTo: (port) => {
      target = port;
    },
    cutAnswers: (times) => {
      left = times;
    },
    cuts: () => cuts,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
