// A dedicated connection for one batch statement, with its plan pinned and its time limits set; replaced when it is lost.
import pg from 'pg';
import { refuseLossySettings } from './durability.ts';

const CONNECT_TIMEOUT_MS = 2_000;
const STATEMENT_TIMEOUT_MS = 5_000;
const FIRST_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 500;

export interface Lane {
  /** The connection; rejects when there is none by `giveUpAt` (monotonic ms). */
  connect(giveUpAt: number): Promise<pg.Client>;
  /** Gives up a connection that was lost. */
  drop(client: pg.Client): void;
  close(): Promise<void>;
}

export function openLane(options: { connectionString: string; applicationName: string; lockTimeoutMs: number }): Lane {
  let current: pg.Client | null = null;

  async function connect(giveUpAt: number): Promise<pg.Client> {
    for (let backoff = FIRST_BACKOFF_MS; current === null; backoff = Math.min(LONGEST_BACKOFF_MS, backoff * 2)) {
      try {
        current = await open();
      } catch (error) {
        const left = giveUpAt - performance.now();
        if (left <= 0) throw error;
        await new Promise((resolve) => setTimeout(resolve, Math.min(backoff, left)));
      }
    }
    return current;
  }

  async function open(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: options.connectionString,
      application_name: options.applicationName,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      // The plan must not depend on statistics: a day's partition is empty when its first batch is planned (facts.md).
      options: [
        'plan_cache_mode=force_generic_plan',
        'enable_seqscan=off',
        'jit=off',
        `lock_timeout=${options.lockTimeoutMs}`,
        `statement_timeout=${STATEMENT_TIMEOUT_MS}`,
      ]
        .map((setting) => `-c ${setting}`)
        .join(' '),
    });
    // An error between queries; the next query on it fails too, and is handled there.
    client.on('error', () => drop(client));
    await client.connect();
    await refuseLossySettings(client);
    return client;
  }

  function drop(client: pg.Client): void {
    if (current === client) current = null;
    client.end().catch(() => undefined); // it is lost already; there is nobody to tell
  }

  return {
    connect,
    drop,
    close: async () => {
      const client = current;
      current = null;
      await client?.end();
    },
  };
}
