// `ballast source …`: which generation the order database is in. Forwarding raises it by itself when it finds that the history
// was replaced; a person does where it cannot know, and where it refuses to follow an older timeline (docs/runbooks/restore.md).
import pg from 'pg';
import { type ExitCode, exitCode, say, UsedWrongly } from '../system/command.ts';
import { type Operator, table } from './operator.ts';
import { authorized } from './reader.ts';

const CONNECT_TIMEOUT_MS = 3_000;

export async function source(operator: Operator): Promise<ExitCode> {
  const [action = 'show'] = operator.words;
  switch (action) {
    case 'show':
      return withOrders(operator, show);
    case 'new-generation': {
      const reason = operator.text('reason') ?? '';
      if (reason === '') throw new UsedWrongly('Say why: --reason TEXT');
      const restoredTo = operator.text('restored-to');
      if (restoredTo !== undefined && Number.isNaN(Date.parse(restoredTo)))
        throw new UsedWrongly(`--restored-to must be a time like 2026-11-24T20:00:00Z, is "${restoredTo}"`);
      const details = { restored_to: restoredTo ?? null };
      const by = await authorized(operator, { action: 'new_source_generation', target: 'source', details });
      return withOrders(operator, (client) => raise(client, restoredTo, reason, by));
    }
    default:
      throw new UsedWrongly(`source: there is no "${action}"; see npx ballast help`);
  }
}

async function show(client: pg.Client): Promise<ExitCode> {
  const { rows: now } = await client.query<{ generation: number }>('select generation from source_generation');
  say(`generation ${now[0]?.generation}`);
  const { rows } = await client.query(
    'select generation, raised_at, raised_by, reason from generation_raised order by generation desc',
  );
  table(
    ['GENERATION', 'RAISED AT', 'BY', 'REASON'],
    rows.map((row) => [row.generation, row.raised_at, row.raised_by, row.reason]),
  );
  return exitCode.done;
}

/** What the newest watermark of that time has seen is of the old history for certain; without a time nothing is. */
async function raise(client: pg.Client, restoredTo: string | undefined, reason: string, by: string): Promise<ExitCode> {
  const { rows } = await client.query<{ raised: boolean | null; next: number; known: string | null }>(
    `select raise_generation(g.generation, g.generation + 1, coalesce(w.snapshot, '1:1:'), $2, $3) as raised,
       g.generation + 1 as next, to_char(w.written_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as known
     from source_generation g
     left join lateral (
       select snapshot, written_at from journal_watermark
       where written_at <= $1::timestamptz and system = this_system() order by id desc limit 1
     ) w on true`,
    [restoredTo ?? null, reason, by],
  );
  const done = rows[0];
  if (done?.raised !== true) {
    say('The generation was raised by somebody else at this moment; look with: npx ballast source show');
    return exitCode.checkFailed;
  }
  say(`generation ${done.next}`);
  say(
    done.known === null
      ? '  the whole journal belongs to it: everything is delivered again, and consumers take back what differs'
      : `  what was written after ${done.known} belongs to it; consumers take back what differs`,
  );
  return exitCode.done;
}

async function withOrders(operator: Operator, work: (client: pg.Client) => Promise<ExitCode>): Promise<ExitCode> {
  const url = operator.text('database-url') ?? operator.run?.databases.orders;
  if (url === undefined)
    throw new UsedWrongly("Name the order database: --database-url, or --data of a running system's.");
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
