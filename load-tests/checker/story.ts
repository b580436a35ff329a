// What the checker knows of one order: its row, keys, attempts and journal, read as they are. Types are written here and
// nowhere else; nothing of the services or of the packages that the services stand on is imported by the checker.

export interface OrderRow {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly terminal_id: string;
  readonly livemode: boolean;
  readonly status: string;
  readonly version: number;
  /** Minor units; the contract keeps them below 2^53. */
  readonly amount: number;
  readonly currency: string;
  readonly approved_amount: number | null;
  readonly method: string;
  readonly channel: string;
  readonly batch_number: string;
  readonly trace_number: string;
  readonly merchant_reference: string | null;
  readonly card_bin: string | null;
  readonly card_last_four: string | null;
  readonly decline_code: string | null;
  readonly business_date: string;
  readonly accepted_at: string;
  readonly approve_until: string;
  readonly void_requested: boolean;
  readonly window_closed: boolean;
  readonly lease_epoch: number;
  readonly answer: string | null;
  readonly answer_status: string | null;
}

export interface AttemptRow {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly attempt_no: number;
  readonly state: string;
  readonly channel: string;
  readonly bank_reference: string;
  readonly amount: number;
  readonly currency: string;
  readonly livemode: boolean;
  readonly last_send_ms: number;
  readonly approved_amount: number | null;
  /** A case of it is open: a person is told to look at it. */
  readonly with_person: boolean;
  readonly case_has_evidence: boolean;
}

export interface EventRow {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly version: number;
  readonly type: string;
  readonly livemode: boolean;
  readonly generation: number;
  readonly occurred_ms: number;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface KeyRow {
  readonly merchant_id: string;
  readonly order_id: string | null;
  readonly key_hash: string;
  readonly trace_hash: string;
}

/** An order's row in the read model. */
export interface ViewRow {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly generation: number;
  readonly [field: string]: unknown;
}

/** One event as the read model tells it again. */
export interface ToldRow {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly version: number;
  readonly generation: number;
  readonly type: string;
  readonly state: Readonly<Record<string, unknown>>;
}

/** How far the query service has applied an order's events. */
export interface PositionRow {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly source: string;
  readonly generation: number;
  readonly version: number;
  readonly waits_for: string | null;
}

export interface View {
  readonly rows: readonly ViewRow[];
  readonly told: readonly ToldRow[];
  readonly positions: readonly PositionRow[];
}

/** One order with all that belongs to it. `order` null: rows that belong to no order (always somebody's fault). */
export interface Story {
  readonly order: OrderRow | null;
  readonly orderId: string;
  readonly keys: readonly KeyRow[];
  readonly attempts: readonly AttemptRow[];
  readonly events: readonly EventRow[];
  /** What the read model holds of it; null: it is not looked at. */
  readonly view: View | null;
}
