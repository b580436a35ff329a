// The days that the hot tables are cut into. A UUIDv7 begins with its time in milliseconds, so a day is a range of ids.

/** Detached in this order: without its order nothing can move any more; the journal of a day goes last. */
export const dayTables = ['orders', 'attempt', 'order_event'] as const;
export type DayTable = (typeof dayTables)[number];
export const DAY_MS = 86_400_000;

/** `20261124`, as the names of partitions end. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10).replaceAll('-', '');
}

export function partitionOf(table: DayTable, day: string): string {
  return `${table}_${day}`;
}

/** When the day begins, ms. */
export function startOf(day: string): number {
  return Date.parse(`${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}T00:00:00Z`);
}

/** The least UUID of a millisecond. */
function lowestIdAt(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** `from (…) to (…)` of a day's partition. */
export function boundsOf(day: string): string {
  return `from ('${lowestIdAt(startOf(day))}') to ('${lowestIdAt(startOf(day) + DAY_MS)}')`;
}
