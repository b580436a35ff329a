// Snapshots of the source database, as `pg_current_snapshot()` prints them: `xmin:xmax:xip_list`. Every transaction below
// xmin is finished; those from xmax on, and those in the list, were not.
export interface PgSnapshot {
  readonly text: string;
  readonly xmin: number;
  readonly xmax: number;
}

/** Sees nothing: everything is still to be delivered. */
export const SEES_NOTHING: PgSnapshot = { text: '1:1:', xmin: 1, xmax: 1 };

export function parseSnapshot(text: string): PgSnapshot {
  const [xmin, xmax] = text.split(':');
  if (xmin === undefined || xmax === undefined) throw new Error(`BUG: not a snapshot: ${text}`);
  return { text, xmin: Number(xmin), xmax: Number(xmax) };
}

/** `xid` was finished when it was taken. */
export function sees(snapshot: PgSnapshot, xid: number): boolean {
  if (xid < snapshot.xmin) return true;
  return xid < snapshot.xmax && !inProgress(snapshot).has(xid);
}

/** Of two snapshots of one history the one that was taken first: it sees nothing that the other does not. */
export function earlier(a: PgSnapshot, b: PgSnapshot): PgSnapshot {
  if (a.xmax !== b.xmax) return a.xmax < b.xmax ? a : b;
  return inProgress(a).size >= inProgress(b).size ? a : b;
}

function inProgress({ text }: PgSnapshot): ReadonlySet<number> {
  const list = text.slice(text.lastIndexOf(':') + 1);
  return new Set(list === '' ? [] : list.split(',').map(Number));
}
