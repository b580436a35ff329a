// Our own reader of the database's log, on a replication connection of `pg` (the npm reader loses events, docs/facts.md).
//
// - A position is confirmed only when its owner says so, and never beyond what the server has sent: the server accepts an
//   acknowledgement beyond its own end and then skips rows.
// - Reading stops (the socket is paused) while there is no room for what comes; status messages go on, so the server
//   does not take us for dead.
// - A server that says nothing for some seconds though it was asked is given up: its machine may have vanished without
//   closing anything.
// - When behind, small chunks are let pile up for a millisecond: fewer wake-ups on both sides, twice the throughput.
import pg from 'pg';
import { disconnect, within } from './connect.ts';
import { identifySystem, type System } from './identify-system.ts';
import { formatLsn, readLsn, writeLsn } from './lsn.ts';
import { type LogMessage, openDecoder } from './pgoutput.ts';

export interface LogReaderOptions {
  readonly connectionString: string;
  readonly applicationName: string;
  readonly slot: string;
  readonly publication: string;
  /** A column that is handed out as bytes. */
  readonly keptAsBytes: string;
  /** In the order of the log. Called synchronously as bytes arrive. */
  onMessage(message: LogMessage): void;
  /** Nothing before `lsn` is still to come; between transactions only. */
  onProgress(lsn: number): void;
}

export interface LogReader {
  readonly system: System;
  /** Hands out what has come and goes on; nothing is handed out before. */
  begin(): void;
  /** Stops and goes on reading; for an owner without room. */
  pause(): void;
  resume(): void;
  /** Nothing before it is still to come. */
  received(): number;
  /** Everything before `lsn` is delivered or can be read again from the journal. */
  confirm(lsn: number): void;
  /** Never resolves: rejects when the stream ends, with PostgreSQL's error. */
  readonly ended: Promise<never>;
  close(): Promise<void>;
}

/** The parts of pg's connection that its types leave out. */
interface CopyConnection {
  readonly stream: NodeJS.ReadStream;
  on(event: 'copyData', listener: (message: { chunk: Buffer }) => void): void;
  once(event: 'replicationStart', listener: () => void): void;
  sendCopyFromChunk(bytes: Buffer): void;
}

const CONNECT_TIMEOUT_MS = 3_000;
/** A frozen forwarder loses its slot after this long, and a standby takes over. */
const WAL_SENDER_TIMEOUT = '5s';
const STATUS_EVERY_MS = 1_000;
/** Longer than a busy server's walsender takes to answer; as long as the server waits for us. */
const SILENT_MS = 5_000;
/** Decoding starts where the slot stands, after reading what was in progress there. */
const START_MS = 30_000;
const XLOG_DATA = 0x77;
const KEEPALIVE = 0x6b;
const PLUGIN_MESSAGE = 25; // after one byte of kind and three numbers of eight bytes
/** Behind: the last commit is older than this. A chunk below this size is worth waiting for more. */
const BEHIND_MS = 50;
const SMALL_CHUNK_BYTES = 32_768;
const PILE_UP_MS = 1;
const POSTGRES_EPOCH_US = 946_684_800_000_000n;

/** Resolves once the slot is ours. Rejects with PostgreSQL's error: 55006 in use, 42704 no such slot, 55000 invalidated. */
export async function openLogReader(options: LogReaderOptions): Promise<LogReader> {
  const client = replicationClient(options);
  const ending = Promise.withResolvers<never>();
  ending.promise.catch(() => undefined); // whoever waits for it is told; nobody may wait yet
  client.on('error', ending.reject);
  client.on('end', () => ending.reject(new Error('the replication connection ended')));
  await client.connect();
  try {
    return await readLog(client, ending, options);
  } catch (error) {
    await disconnect(client);
    throw error;
  }
}

function replicationClient(options: LogReaderOptions): pg.Client {
  return new pg.Client({
    connectionString: options.connectionString,
    application_name: options.applicationName,
    replication: 'database',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    // Values come as this session would print them.
    options: `-c wal_sender_timeout=${WAL_SENDER_TIMEOUT} -c TimeZone=UTC -c DateStyle=ISO -c statement_timeout=0`,
  } as pg.ClientConfig);
}

async function readLog(
  client: pg.Client,
  ending: PromiseWithResolvers<never>,
  options: LogReaderOptions,
): Promise<LogReader> {
  const connection = (client as unknown as { connection: CopyConnection }).connection;
  const asked = Promise.race([identifySystem(client), ending.promise]);
  const system = await within(SILENT_MS, 'the server to say who it is', asked);

  const decoder = openDecoder(options.keptAsBytes);
  let received = 0;
  let confirmed = 0;
  let inTransaction = false;
  let committedAt = Number.POSITIVE_INFINITY;
  /** What came in one packet with the server's consent. */
  const early: Buffer[] = [];
  let begun = false;
  let held = false;
  let closed = false;
  let heardAt = performance.now();

  function take({ chunk }: { chunk: Buffer }): void {
    if (!begun) {
      early.push(chunk);
      return;
    }
    try {
      if (chunk[0] === XLOG_DATA) takeMessage(decoder.decode(chunk, PLUGIN_MESSAGE));
      else if (chunk[0] === KEEPALIVE) takeKeepalive(chunk);
    } catch (error) {
      ending.reject(error);
      connection.stream.destroy();
    }
  }

  function takeMessage(message: LogMessage | undefined): void {
    if (message === undefined) return;
    if (message.kind === 'begin') {
      inTransaction = true;
      committedAt = message.committedAt;
    }
    options.onMessage(message);
    if (message.kind !== 'commit') return;
    inTransaction = false;
    progress(message.end);
  }

  function takeKeepalive(chunk: Buffer): void {
    // Inside a transaction it can name a position after rows that are still to come.
    if (!inTransaction) progress(readLsn(chunk, 1));
    if (chunk[17] === 1) sendStatus(false);
  }

  function progress(lsn: number): void {
    if (lsn > received) received = lsn;
    options.onProgress(received);
  }

  function sendStatus(askForReply: boolean): void {
    const status = Buffer.alloc(34);
    status.writeUInt8(0x72, 0); // standby status update: written, flushed, applied, our clock, reply at once?
    for (const at of [1, 9, 17]) writeLsn(status, confirmed, at);
    status.writeBigInt64BE(BigInt(Date.now()) * 1_000n - POSTGRES_EPOCH_US, 25);
    status.writeUInt8(askForReply ? 1 : 0, 33);
    if (connection.stream.writable) connection.sendCopyFromChunk(status);
  }

  function pileUp(chunk: Buffer): void {
    if (held || closed || chunk.length >= SMALL_CHUNK_BYTES || Date.now() - committedAt < BEHIND_MS) return;
    connection.stream.pause();
    setTimeout(() => {
      if (!held) connection.stream.resume();
    }, PILE_UP_MS);
  }

  /** While we do not read, nothing can be heard. */
  function noticeSilence(): void {
    if (held || !begun) heardAt = performance.now();
    if (performance.now() - heardAt < SILENT_MS) return;
    ending.reject(new Error(`the server has said nothing for ${SILENT_MS} ms`));
    connection.stream.destroy();
  }

  const started = new Promise<void>((resolve) => connection.once('replicationStart', resolve));
  connection.on('copyData', take);
  const copying = client.query(
    `START_REPLICATION SLOT ${client.escapeIdentifier(options.slot)} LOGICAL 0/0 ` +
      `(proto_version '1', publication_names ${client.escapeLiteral(client.escapeIdentifier(options.publication))})`,
  );
  copying.then(() => ending.reject(new Error('the server ended the stream')), ending.reject);
  await within(START_MS, 'the stream to start', Promise.race([started, copying, ending.promise]));
  connection.stream.pause();
  connection.stream.on('data', (chunk) => {
    heardAt = performance.now();
    pileUp(chunk);
  });
  // Asking for a reply makes an idle server say how far it is, so an idle publication does not pin the log.
  const timer = setInterval(() => {
    sendStatus(true);
    noticeSilence();
  }, STATUS_EVERY_MS);

  return {
    system,
    begin: () => {
      begun = true;
      for (const chunk of early.splice(0)) take({ chunk });
      if (!held) connection.stream.resume();
    },
    pause: () => {
      held = true;
      connection.stream.pause();
    },
    resume: () => {
      held = false;
      if (begun) connection.stream.resume();
    },
    received: () => received,
    confirm: (lsn) => {
      if (lsn > received) throw new Error(`BUG: confirming ${formatLsn(lsn)}, received only ${formatLsn(received)}`);
      if (lsn <= confirmed) return;
      confirmed = lsn;
      sendStatus(false);
    },
    ended: ending.promise,
    close: async () => {
      closed = true;
      clearInterval(timer);
      connection.stream.destroy(); // the socket is gone: the slot is free at once
      await disconnect(client);
    },
  };
}
