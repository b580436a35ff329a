// What a server says on a replication connection of which cluster it is, and of which history.
import type pg from 'pg';
import { parseLsn } from './lsn.ts';

export interface System {
  readonly system: string;
  readonly timeline: number;
  /** By timeline: where this history left it for a newer one. */
  readonly leftAt: ReadonlyMap<number, number>;
}

export async function identifySystem(client: pg.ClientBase): Promise<System> {
  const { rows } = await client.query('IDENTIFY_SYSTEM');
  const system = { system: String(rows[0].systemid), timeline: Number(rows[0].timeline) };
  if (system.timeline === 1) return { ...system, leftAt: new Map() };
  const history = await client.query(`TIMELINE_HISTORY ${system.timeline}`);
  return { ...system, leftAt: parseTimelines(String(history.rows[0].content)) };
}

/** Lines of `timeline, where it was left, why`, separated by tabs. */
function parseTimelines(content: string): ReadonlyMap<number, number> {
  return new Map(
    content
      .split('\n')
      .map((line) => /^\s*(\d+)\s+([0-9A-F]+\/[0-9A-F]+)/i.exec(line))
      .filter((found) => found !== null)
      .map(([, timeline, lsn]) => [Number(timeline), parseLsn(lsn ?? '')]),
  );
}
