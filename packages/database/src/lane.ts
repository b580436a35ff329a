// A dedicated connection for one batch statement, with its plan pinned and its time limits set; replaced when it is lost.
//
// Its queries go through pg's callback, and silence.ts looks for silence. pg's own promise and `query_timeout` leave closures
// behind with each query that V8's young collections do not free, nor what the query held: at 300 payments/s 1.4 MB in each
// of them, and so a full collection every 2.5 s, whose 15 ms were the tail of the latency (seen with --trace-gc; then 0.6 MB, and
// 0.1 since nothing is pretenured: docs/decisions/0020).
import pg from 'pg';
import { refuseLossySettings } from './durability.ts';
import { refuseReadOnly } from './read-only.ts';
import { leaveIfGone, leaveWhenSilent } from './silence.ts';

const CONNECT_TIMEOUT_MS = 2_000;
const STATEMENT_TIMEOUT_MS = 5_000;
/** A statement's own limit comes first: it says more. */
const TRANSACTION_MARGIN_MS = 1_000;
const FIRST_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 500;

export interface Lane {
  /** The connection; rejects when there is none by `giveUpAt` (monotonic ms). */
  connect(giveUpAt: number): Promise<pg.Client>;
  /** One at a time. Rejects also when the server says nothing beyond every limit of its own. */
  query<Row extends pg.QueryResultRow>(client: pg.Client, config: pg.QueryConfig): Promise<pg.QueryResult<Row>>;
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
    if (current !== null && leaveIfGone(current)) current = null;
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
      // The plan must not depend on statistics: a day's partition is empty when its first batch is planned (docs/facts.md).
      options: [
        'plan_cache_mode=force_generic_plan',
        'enable_seqscan=off',
        'jit=off',
        `lock_timeout=${options.lockTimeoutMs}`,
        `statement_timeout=${statementTimeoutMs}`,
        `transaction_timeout=${statementTimeoutMs + TRANSACTION_MARGIN_MS}`,
      ]
        .map((setting) => `-c ${setting}`)
        .join(' '),
    });
    // An error between queries; the next query on it fails too, and is handled there.
    client.on('error', () => drop(client));
    try {
      await client.connect();
      leaveWhenSilent(client, statementTimeoutMs);
      await refuseReadOnly((text) => query(client, { text }));
      await refuseLossySettings((text) => query(client, { text }));
      return client;
    } catch (error) {
      drop(client); // refused or half open: it must not stay behind, one for each try
      throw error;
    }
  }

  function query<Row extends pg.QueryResultRow>(
    client: pg.Client,
    config: pg.QueryConfig,
  ): Promise<pg.QueryResult<Row>> {
    return new Promise((resolve, reject) => {
      void client.query<Row>(config, (error: Error | null, result) => {
        if (error === null) resolve(result);
        else reject(error);
      });
    });
  }

  function drop(client: pg.Client): void {
    if (current === client) current = null;
    client.end().catch(() => undefined); // it is lost already; there is nobody to tell
  }

  return {
    connect,
    query,
    drop,
    close: async () => {
      const client = current;
      current = null;
      await client?.end();
    },
  };
}
