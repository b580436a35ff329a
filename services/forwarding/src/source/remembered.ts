// What is remembered of a source: which history it was in, and how far that was known.

export interface History {
  /** PostgreSQL's own identifier of the cluster. */
  readonly system: string;
  readonly timeline: number;
  readonly generation: number;
}

/** The last rows that were seen of it: a history that has lost nothing has them. */
export interface Mark {
  /** The newest one that was written. */
  readonly watermark: { readonly id: string; readonly written_at: string } | null;
  /** The last one in its log. */
  readonly event: EventMark | null;
}

export interface EventMark {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly version: number;
  readonly occurred_at: string;
}

export interface Remembered extends History {
  readonly mark: Mark;
  /** How far its log was known, and written to its disk. */
  readonly reached: number;
  /** Nothing was forwarded that its synchronous standby did not have. */
  readonly guarded: boolean;
  /** The furthest transaction id that a stored snapshot knows of. */
  readonly xmax: number;
}
