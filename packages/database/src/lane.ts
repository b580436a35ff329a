// A dedicated connection for one batch statement, with its plan pinned and its time limits set; replaced when it is lost.
import pg from 'pg';
import { refuseLossySettings } from './durability.ts';

const CONNECT_TIMEOUT_MS = 2_000;
const STATEMENT_TIMEOUT_MS = 5_000;
/** The server's own limit comes first; beyond it the server is not there any more, or waits for a standby that is not. */
const SILENCE_MARGIN_MS = 1_000;
const FIRST_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 500;

export interface Lane {
  /** The connection; rejects when there is none by `giveUpAt` (monotonic ms). */
  connect(giveUpAt: number): Promise<pg.Client>;
  /** Gives up a connection that was lost. */
  drop(client: pg.Client): void;
  close(): Promise<void>;
}

export interface LaneOptions {
  readonly connectionString: string;
  readonly applicationName: string;
  readonly lockTimeoutMs: number;
  readonly statementTimeoutMs?: number;
}

export function openLane(options: LaneOptions): Lane {
  const { statementTimeoutMs = STATEMENT_TIMEOUT_MS } = options;
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
      query_timeout: statementTimeoutMs + SILENCE_MARGIN_MS,
      // The plan must not depend on statistics: a day's partition is empty when its first batch is planned (facts.md).
      options: [
        'plan_cache_mode=force_generic_plan',
        'enable_seqscan=off',
        'jit=off',
        `lock_timeout=${options.lockTimeoutMs}`,
        `statement_timeout=${statementTimeoutMs}`,
        `transaction_timeout=${statementTimeoutMs + SILENCE_MARGIN_MS}`,
      ]
        .map((setting) => `-c ${setting}`)
        .join(' '),
    });
    // An error between queries; the next query on it fails too, and is handled there.
    client.on('error', () => drop(client));
    try {
      await client.connect();
      await refuseLossySettings((sql) => client.query(sql));
      return client;
    } catch (error) {
      drop(client); // refused or half open: it must not stay behind, one for each try
      throw error;
    }
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
