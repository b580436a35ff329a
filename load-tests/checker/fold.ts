// The checker's own state machine of an order, written by hand and not from the code that it judges.

const orderMoves: Readonly<Record<string, readonly string[]>> = {
  processing: ['approved', 'declined', 'in_doubt', 'not_completed', 'cancelled', 'reversing'],
  in_doubt: ['approved', 'declined', 'not_completed', 'reversing'],
  approved: ['reversing'],
  reversing: ['reversed', 'reversal_refused'],
  declined: [],
  not_completed: [],
  cancelled: [],
  reversed: [],
  reversal_refused: [],
};

const attemptMoves: Readonly<Record<string, readonly string[]>> = {
  sent: ['approved', 'declined', 'in_doubt', 'not_sent', 'reversing'],
  in_doubt: ['approved', 'declined', 'not_found', 'reversing', 'needs_person'],
  approved: ['reversing'],
  declined: ['reversing'],
  not_found: ['reversing'],
  reversing: ['reversed', 'reversal_refused', 'needs_person'],
  needs_person: ['approved', 'declined', 'not_found', 'reversing', 'reversed', 'reversal_refused'],
  reversed: ['reversing'],
  not_sent: [],
  reversal_refused: [],
};

/** Events that leave the order's status as it is. Every other event is named after the status it leads to. */
const STANDING = new Set(['void_requested', 'window_closed', 'attempt_changed']);
const FIRST = new Map([
  ['accepted', 'processing'],
  ['cancelled', 'cancelled'],
]);
/** What never changes in the life of an order. */
// biome-ignore format: a list
const FIXED = [
  'order_id', 'merchant_id', 'terminal_id', 'livemode', 'amount', 'currency', 'method', 'batch_number', 'trace_number',
  'merchant_reference', 'card_bin', 'card_last_four', 'business_date', 'accepted_at', 'approve_until',
] as const;

export interface Folded {
  readonly status: string;
  readonly version: number;
  readonly attempts: ReadonlyMap<number, string>;
  readonly last: Readonly<Record<string, unknown>>;
}

interface Event {
  readonly version: number;
  readonly type: string;
  readonly livemode: boolean;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The state that an order's events lead to, and every step among them that must not be. */
export function fold(events: readonly Event[]): { state: Folded | null; faults: string[] } {
  const faults: string[] = [];
  const attempts = new Map<number, string>();
  let status: string | null = null;
  let last: Readonly<Record<string, unknown>> | null = null;
  for (const { version, type, livemode, data } of events) {
    const now = String(data['status']);
    const step = `event ${version} ${type}`;
    if (data['version'] !== version) faults.push(`${step}: its data say version ${data['version']}`);
    if (data['livemode'] !== livemode) faults.push(`${step}: livemode differs between row and data`);
    if (status === null) {
      if (FIRST.get(type) !== now) faults.push(`${step}: an order cannot begin as ${now}`);
    } else if (STANDING.has(type)) {
      if (now !== status) faults.push(`${step}: moves the order from ${status} to ${now}`);
    } else {
      if (type !== now) faults.push(`${step}: its data say ${now}`);
      if (!(orderMoves[status] ?? []).includes(now)) faults.push(`${step}: ${status} → ${now} is no legal move`);
    }
    if (last !== null) {
      for (const field of FIXED)
        if (last[field] !== data[field]) faults.push(`${step}: ${field} changed from ${last[field]} to ${data[field]}`);
      if (last['answer'] != null && last['answer'] !== data['answer'])
        faults.push(`${step}: the final answer changed from ${last['answer']} to ${data['answer']}`);
    }
    const moved = attemptFault(attempts, data['attempt']);
    if (moved !== null) faults.push(`${step}: ${moved}`);
    status = now;
    last = data;
  }
  const final = events.at(-1);
  if (status === null || last === null || final === undefined) return { state: null, faults };
  return { state: { status, version: final.version, attempts, last }, faults };
}

/** Takes one event's attempt into account; null: a legal move, or none. */
function attemptFault(attempts: Map<number, string>, value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null;
  const { attempt, state } = value as { attempt: number; state: string };
  const before = attempts.get(attempt);
  attempts.set(attempt, state);
  if (before === undefined) return state === 'sent' ? null : `attempt ${attempt} begins as ${state}`;
  if (before === state || (attemptMoves[before] ?? []).includes(state)) return null;
  return `attempt ${attempt}: ${before} → ${state} is no legal move`;
}
