// The doctor's look at forwarding: the slot in the order database, the source that reads it, each subscriber's feed.
import type { Finding } from './finding.ts';
import { rowsOf } from './look-around.ts';
import { type ForwardingSeen, lookAtForwarding } from './look-at-forwarding.ts';
import type { RunFile } from './run-file.ts';

const ODD_LAG_SECONDS = 2;
const BAD_LAG_SECONDS = 30;
/** Half of max_slot_wal_keep_size: beyond the whole of it PostgreSQL gives the slot up. */
const ODD_RETAINED_BYTES = 512 * 1024 * 1024;

const slotsSql = `select slot_name, active, wal_status,
    pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 as retained_bytes from pg_replication_slots`;

export async function* examineForwarding(run: RunFile): AsyncGenerator<Finding> {
  yield await slot(run);
  const seen = await lookAtForwarding(run);
  if (seen === undefined) return; // its own line says why it does not answer
  yield* seen.sources.map(source);
  yield* seen.subscribers.map(feed);
}

async function slot(run: RunFile): Promise<Finding> {
  const what = 'replication slot';
  if (run.services.forwarding === undefined) return { verdict: 'odd', what, seen: 'forwarding was not started' };
  const rows = await rowsOf<{ slot_name: string; active: boolean; wal_status: string; retained_bytes: number }>(
    run.databases.orders,
    slotsSql,
  );
  if (rows instanceof Error) return { verdict: 'bad', what, seen: rows.message };
  const found = rows.find(({ slot_name }) => slot_name.startsWith('ballast_forwarding'));
  if (found === undefined)
    return { verdict: 'bad', what, seen: 'there is none', advice: `see ${run.services.forwarding.log_file}` };
  const seen = `${found.slot_name} ${found.active ? 'read' : 'not read'}, ${(found.retained_bytes / 1e6).toFixed(1)} MB of WAL kept`;
  if (found.wal_status === 'lost')
    return {
      verdict: 'bad',
      what,
      seen: `${seen}, lost`,
      advice: 'forwarding recovers it from the journal; see its log',
    };
  if (!found.active || found.retained_bytes > ODD_RETAINED_BYTES)
    return { verdict: 'odd', what, seen, advice: `is forwarding running? ${run.services.forwarding.log_file}` };
  return { verdict: 'good', what, seen };
}

function source({ source: name, state, reason }: ForwardingSeen['sources'][number]): Finding {
  const what = `journal of ${name}`;
  const seen = reason === null ? state : `${state}: ${reason}`;
  return state === 'leading' || state === 'standby'
    ? { verdict: 'good', what, seen }
    : { verdict: 'bad', what, seen, advice: 'nothing is forwarded until it leads; payments do not notice' };
}

function feed(one: ForwardingSeen['subscribers'][number]): Finding {
  const { subscriber, state, route, lag_seconds, pending_events, last_error } = one;
  const what = `forwarding to ${subscriber}`;
  const seen = `${state}, ${route}, ${lag_seconds.toFixed(1)} s behind, ${pending_events ?? 'nobody knows how many'} events waiting`;
  if (state === 'failing') return { verdict: 'bad', what, seen, advice: last_error ?? `is ${subscriber} running?` };
  if (lag_seconds <= ODD_LAG_SECONDS) return { verdict: 'good', what, seen };
  const advice = 'what merchants see is that old; it catches up by itself';
  return { verdict: lag_seconds <= BAD_LAG_SECONDS ? 'odd' : 'bad', what, seen, advice };
}
