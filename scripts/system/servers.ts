// The two PostgreSQL servers: `orders` for the order database alone, so that nobody's load or log touches it, `main` for
// all others. Each is kept running: one that dies comes back on its port, with its data.
import { type Server, startServer } from '@ballast/database/embedded';
import type { Layout, ServerName } from './layout.ts';
import { identityOf, signalIfThere } from './processes.ts';

const databasesOf = { orders: ['orders'], main: ['forwarding', 'query', 'control'] } as const;

const settings: Readonly<Record<ServerName, Readonly<Record<string, string>>>> = {
  orders: {},
  main: { shared_buffers: '128MB' },
};
const LOOK_MS = 500;
const POLL_MS = 25;
const KILL_LIMIT_MS = 10_000;

export interface KeptServer {
  readonly name: ServerName;
  /** As it runs now, or ran last. */
  current(): Server;
  /** SIGKILL and SIGTERM: it stays down until `start`. Resolves when the postmaster is gone. */
  kill(signal: NodeJS.Signals): Promise<void>;
  start(): Promise<void>;
  /** A clean shutdown; it stays down until `start`. */
  end(): Promise<void>;
  stop(): Promise<void>;
}

export interface KeptServerOptions {
  readonly name: ServerName;
  readonly layout: Layout;
  readonly port: number;
  readonly say: (line: string) => void;
  readonly onStart: () => void;
}

export async function keepServer({ name, layout, port, say, onStart }: KeptServerOptions): Promise<KeptServer> {
  const options = {
    dataDir: layout.postgresDir(name),
    logFile: layout.logFile(`postgres-${name}`),
    port,
    settings: settings[name],
  };
  let server = await startServer(options);
  let wanted = true;
  /** A start under way: whoever ends the server waits for it, or it would come up afterwards. */
  let starting: Promise<void> | undefined;
  for (const database of databasesOf[name]) await server.createDatabase(database);

  function start(): Promise<void> {
    wanted = true;
    starting ??= startServer(options)
      .then((started) => {
        server = started;
        onStart();
      })
      .finally(() => {
        starting = undefined;
      });
    return starting;
  }

  const watch = setInterval(() => {
    if (!wanted || starting !== undefined || identityOf(server.pid) !== undefined) return;
    say(`PostgreSQL (${name}) died; starting it again. Its log: ${options.logFile}`);
    start().then(
      () => say(`PostgreSQL (${name}) is back`),
      (error: unknown) => say(`PostgreSQL (${name}) does not start: ${String(error)}`), // the next look tries again
    );
  }, LOOK_MS);
  watch.unref();

  async function end(): Promise<void> {
    wanted = false;
    await starting?.catch(() => undefined); // said by whoever started it; there is nothing to end then
    await server.stop();
  }

  return {
    name,
    current: () => server,
    kill: async (signal) => {
      const identity = identityOf(server.pid);
      if (signal === 'SIGKILL' || signal === 'SIGTERM') wanted = false;
      if (identity === undefined || !signalIfThere(server.pid, signal) || wanted) return;
      const until = performance.now() + KILL_LIMIT_MS;
      while (identityOf(server.pid) === identity) {
        if (performance.now() > until) throw new Error(`PostgreSQL (${name}) did not end after ${signal}`);
        await new Promise((done) => setTimeout(done, POLL_MS));
      }
    },
    start,
    end,
    stop: async () => {
      clearInterval(watch);
      await end();
    },
  };
}
