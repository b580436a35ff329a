// A TCP proxy for tests, between a client and a server on this machine: holds what the server says, cuts connections.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface TestProxy {
  readonly port: number;
  /** From now on nothing that the server says reaches a client; it is kept, in order. */
  holdAnswers(): void;
  /** Of what the server says next to each client the first bytes pass, and nothing that follows. */
  holdInTheMiddle(): void;
  /** A machine that is gone, and another one at its address: who is connected is never answered again, new connections pass. */
  vanish(): void;
  /** Lets through what was held, and all that follows. */
  release(): void;
  /** Resets every connection; what was held is lost with them. New connections pass. */
  cut(): void;
  close(): Promise<void>;
}

export async function startProxy(target: { readonly host: string; readonly port: number }): Promise<TestProxy> {
  const pairs = new Set<{ readonly client: Socket; readonly server: Socket }>();
  let holding = false;
  const listener = createServer((client) => {
    const server = connect(target);
    const pair = { client, server };
    pairs.add(pair);
    client.pipe(server);
    server.on('data', (chunk) => client.write(chunk));
    if (holding) server.pause();
    for (const socket of [client, server]) {
      socket.on('error', () => undefined); // a cut on one side; 'close' follows
      socket.on('close', () => {
        pairs.delete(pair);
        client.destroy();
        server.destroy();
      });
    }
  });
  await once(listener.listen(0, '127.0.0.1'), 'listening');

  function cut(): void {
    holding = false;
    for (const { client, server } of pairs) {
      client.resetAndDestroy();
      server.destroy();
    }
  }

  return {
    port: (listener.address() as AddressInfo).port,
    holdAnswers: () => {
      holding = true;
      for (const { server } of pairs) server.pause();
    },
    holdInTheMiddle: () => {
      for (const { server } of pairs) server.once('data', () => server.pause());
    },
    vanish: () => {
      for (const { server } of pairs) server.pause();
    },
    release: () => {
      holding = false;
      for (const { server } of pairs) server.resume();
    },
    cut,
    close: async () => {
      cut();
      await new Promise((done) => listener.close(done));
    },
  };
}
