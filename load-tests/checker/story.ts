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
  readonly has_evidence: boolean;
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

/** One order with all that belongs to it. `order` null: rows that belong to no order (always somebody's fault). */
export interface Story {
  readonly order: OrderRow | null;
  readonly orderId: string;
  readonly keys: readonly KeyRow[];
  readonly attempts: readonly AttemptRow[];
  readonly events: readonly EventRow[];
}
