// Which generation an event belongs to. Its row says under which one it was written; but payments go on while nobody has
// noticed yet that the history was replaced, and those rows name the old one. The raise says since when they are wrong.
//
// `since` is a snapshot of one moment: if it sees an order's version, it sees those before. So along an order generations
// never go down, which a boundary in transaction ids or in time could not promise.
import { type Snapshot, sees } from '../delivery/snapshot.ts';

export interface Raise {
  readonly generation: number;
  readonly since: Snapshot;
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
