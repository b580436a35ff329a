// The slot is ours by its name. Where it is missing, lost, or somebody else's work, it is made anew: nothing is lost by
// that, because every feed then goes on from the journal (delivery/feed.ts).
import type { Logger } from '@ballast/telemetry';
import pg from 'pg';
import { connectForSlot, disconnect, type Primary } from './connect.ts';
import { createSlot, dropSlot, readSlot } from './source.sql.ts';

const ALREADY_THERE = '42710';

export async function ensureSlot(
  { url, client }: Primary,
  applicationName: string,
  slot: string,
  logger: Logger,
): Promise<void> {
  const found = await readSlot(client, slot);
  if (found !== null) {
    const why = unusable(found);
    if (why === null || found.active) return;
    logger.warn({ slot, reason: why }, 'replication slot is of no use and is made anew; feeds go on from the journal');
    await dropSlot(client, slot);
  }
  const patient = await connectForSlot(url, applicationName);
  try {
    await createSlot(patient, slot);
    logger.info({ slot }, 'replication slot made');
  } catch (error) {
    // Another forwarder was quicker: it will have the slot, and this one waits for it.
    if (!(error instanceof pg.DatabaseError && error.code === ALREADY_THERE)) throw error;
  } finally {
    await disconnect(patient);
  }
}

function unusable(slot: { plugin: string | null; here: boolean; wal_status: string }): string | null {
  if (slot.plugin !== 'pgoutput') return `its plugin is ${slot.plugin ?? 'none'}`;
  if (!slot.here) return 'it belongs to another database';
  return slot.wal_status === 'lost' ? 'it was invalidated' : null;
}
