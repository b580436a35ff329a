// A TCP proxy that cuts the connection after so many bytes, in one direction: what every network does one day, at every
// byte of a request and of its answer.
import { once } from 'node:events';
import { connect as connectTo, createServer, type Socket } from 'node:net';

export interface Cut {
  /** `request`: bytes on their way to the server; `answer`: bytes on their way back. */
  readonly direction: 'request' | 'answer';
  readonly afterBytes: number;
}

export interface CuttingProxy {
  readonly url: string;
  /** For the next connection only; then everything passes again. Idle connections are closed, so that there is a next one. */
  cutNext(cut: Cut): Promise<void>;
  /** Bytes of the last connection that passed whole: how many offsets there are to cut at. */
  lastSizes(): { readonly request: number; readonly answer: number };
  close(): Promise<void>;
}

export async function openCuttingProxy(target: string): Promise<CuttingProxy> {
  const { hostname, port } = new URL(target);
  let next: Cut | null = null;
  let sizes = { request: 0, answer: 0 };
  const open = new Set<Socket>();

  const server = createServer((client) => {
    const cut = next;
    next = null;
    const bank = connectTo(Number(port), hostname);
    const passed = { request: 0, answer: 0 };
    if (cut === null) sizes = passed;
    const end = () => {
      client.destroy();
      bank.destroy();
    };
    for (const socket of [client, bank]) {
      open.add(socket);
      socket.on('error', end).on('close', () => {
        open.delete(socket);
        end();
      });
    }
    const pass = (from: Socket, to: Socket, direction: Cut['direction']) =>
      from.on('data', (chunk: Buffer) => {
        const room = cut?.direction === direction ? cut.afterBytes - passed[direction] : chunk.length;
        passed[direction] += chunk.length;
        if (room >= chunk.length) return void to.write(chunk);
        // What came before the cut arrives; then both sides see the connection die.
        to.write(chunk.subarray(0, Math.max(0, room)), () => setImmediate(end));
      });
    pass(client, bank, 'request');
    pass(bank, client, 'answer');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('BUG: a TCP server has a port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    cutNext: async (cut) => {
      const idle = [...open].map((socket) => once(socket.destroy(), 'close'));
      await Promise.all(idle);
      // The other ends hear of it in their next turn.
      await new Promise((resolve) => setTimeout(resolve, 2));
      next = cut;
    },
    lastSizes: () => ({ ...sizes }),
    close: async () => {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
