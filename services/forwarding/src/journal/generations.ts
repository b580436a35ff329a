// Which generation an event belongs to. Its row says under which one it was written; but payments go on while nobody has
// noticed yet that the history was replaced, and those rows name the old one. The raise says since when they are wrong.
//
// `since` is a snapshot of one moment: if it sees an order's version, it sees those before. So along an order generations
// never go down, which a boundary in transaction ids or in time could not promise.
import { MOST_REPLACED, type Replaced } from '@ballast/contracts';
import { type PgSnapshot, sees } from '../source/pg-snapshot.ts';

export interface Raise {
  readonly generation: number;
  readonly since: PgSnapshot;
  /** What was decided before it, `since` sees (RFC 3339, six digits). */
  readonly from: string;
}

/** `written`: what the row says. `xid`: of the transaction that wrote it. */
export type GenerationOf = (written: number, xid: number) => number;

/** Newest raise first. */
export function openGenerations(raises: readonly Raise[]): GenerationOf {
  return (written, xid) => {
    for (const { generation, since } of raises) {
      if (generation <= written) return written;
      if (!sees(since, xid)) return generation;
    }
    return written;
  };
}

/** What watermarks say of them: consumers have events that a lost history issued, and that nothing replaces. */
export function replacedBy(raises: readonly Raise[]): Replaced[] {
  return raises.slice(0, MOST_REPLACED).map(({ generation, from }, index) => {
    const older = index === MOST_REPLACED - 1 ? raises.slice(MOST_REPLACED) : [];
    const [earliest = from] = [from, ...older.map((raise) => raise.from)].sort();
    return { generation, from: earliest };
  });
}
