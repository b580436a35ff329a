// What the banks of the sweep do: one bank, and so one channel, per behaviour, so that one run meets all of them at once.

export interface SweptBank {
  /** Of the bank and its channel. */
  readonly name: string;
  readonly rules: readonly object[];
  /** Further settings of the simulator's bank. */
  readonly settings?: object;
  /** Default: short enough to have run out before approve_until. */
  readonly horizonMs?: number;
  /** Nobody listens until the scenario heals it: connections are refused, and the payment goes to the healthy bank. */
  readonly gone?: true;
  /** Every connection is reset until the scenario heals it. */
  readonly down?: true;
  /** Its attempts may end with a person. */
  readonly expectsPerson?: true;
  /** What it does can only be mended by a process that lives to hear the answer (or by the bank's file). */
  readonly needsListener?: true;
}

const charge = (behaviour: string, extra: object = {}) => ({ behaviour, operation: 'charge', ...extra });
const inquiry = (behaviour: string, extra: object = {}) => ({ behaviour, operation: 'inquiry', ...extra });
const reversal = (behaviour: string, extra: object = {}) => ({ behaviour, operation: 'reversal', ...extra });

/** In the books, and never an answer: everything depends on what is asked afterwards. */
const silentCharge = charge('timeout_after_accepting');
/** No inquiry helps: the order must be given back after approve_until. */
const noInquiry = inquiry('server_error');

/** Behaviours of the charge alone; inquiries and reversals are answered well. */
const chargeBehaviours = [
  'timeout_before_accepting',
  'timeout_after_accepting',
  'answer_twice',
  'wrong_amount',
  'wrong_currency',
  'wrong_reference',
  'unknown_code',
  'server_error',
  'error_after_accepting',
  'too_many',
  'html',
  'empty',
  'truncated',
  'huge',
  'gzip_bomb',
  'trickle',
  'reset_before_accepting',
  'reset_after_accepting',
  'reset_in_answer',
  'redirect',
  'partial_approval',
  'pending',
] as const;

export const sweptBanks: readonly SweptBank[] = [
  { name: 'healthy', rules: [] },
  { name: 'declines', rules: [], settings: { decline_rate: 1 } },
  { name: 'gone', rules: [], gone: true },
  { name: 'down', rules: [], down: true },
  ...chargeBehaviours.map((behaviour) => ({ name: behaviour, rules: [charge(behaviour)] })),
  // Whoever still listens hears it before approve_until.
  { name: 'late', rules: [charge('late', { delay_ms: 1_200 })] },
  { name: 'late_after_reversal', rules: [charge('late', { delay_ms: 5_000 }), noInquiry] },
  {
    name: 'late_after_not_found',
    rules: [charge('late', { delay_ms: 7_500 }), inquiry('not_found')],
    needsListener: true,
  },
  // Its approval comes at once, to whoever asked; whoever inquires hears of nothing.
  { name: 'inquiry_knows_nothing', rules: [inquiry('not_found')], needsListener: true },
  // Its approval may come while it is being taken back, by a desk that never hears of it.
  {
    name: 'reversal_knows_nothing',
    rules: [charge('late', { delay_ms: 1_200 }), reversal('not_found')],
    expectsPerson: true,
    needsListener: true,
  },
  // What a bank takes late it takes within its horizon, with some seconds to spare for a busy machine.
  { name: 'accepts_late', rules: [charge('accepts_late', { delay_ms: 2_000 })], horizonMs: 6_000 },
  {
    name: 'keeps_early_reversals',
    rules: [charge('accepts_late', { delay_ms: 3_000 })],
    settings: { keeps_early_reversals: true },
    horizonMs: 7_000,
  },
  { name: 'inquiry_unanswered', rules: [silentCharge, inquiry('timeout_before_accepting', { times: 3 })] },
  { name: 'inquiry_wrong_amount', rules: [silentCharge, inquiry('wrong_amount')] },
  {
    name: 'not_found_at_first',
    rules: [silentCharge, inquiry('not_found_at_first', { delay_ms: 2_500 })],
    horizonMs: 6_000,
  },
  {
    name: 'reversal_not_found_at_first',
    rules: [silentCharge, noInquiry, reversal('not_found_at_first', { delay_ms: 4_500 })],
    horizonMs: 9_000,
  },
  // After approve_until, and still before its horizon: the reversal is sent for what may yet arrive.
  { name: 'slow_horizon', rules: [charge('accepts_late', { delay_ms: 4_000 })], horizonMs: 9_000 },
  { name: 'inquiry_of_another', rules: [silentCharge, inquiry('foreign_answer', { times: 3 })] },
  { name: 'inquiry_dead', rules: [silentCharge, noInquiry] },
  { name: 'reversal_unanswered', rules: [silentCharge, noInquiry, reversal('reversal_unanswered', { times: 3 })] },
  // Final for us, and shown to a person.
  {
    name: 'reversal_refused',
    rules: [silentCharge, noInquiry, reversal('reversal_refused')],
    expectsPerson: true,
  },
  { name: 'reversal_reset', rules: [silentCharge, noInquiry, reversal('reset_after_accepting', { times: 3 })] },
  { name: 'reversal_dead', rules: [silentCharge, noInquiry, reversal('server_error')], expectsPerson: true },
];

/** First six digits of the cards that lead to the nth bank; those of a bank that is gone stand apart, for its stand-in. */
export function binOf(index: number): string {
  return `${sweptBanks[index]?.gone === true ? GONE_BIN : '45'}${String(index).padStart(4, '0')}`;
}

export const GONE_BIN = '46';

/** A card number (Luhn) that leads to the nth bank. */
export function cardOf(index: number): string {
  const body = `${binOf(index)}000000000`;
  const check = [...Array(10).keys()].find((digit) => passesLuhn(`${body}${digit}`));
  return `${body}${check}`;
}

function passesLuhn(number: string): boolean {
  const sum = [...number].reverse().reduce((total, digit, index) => {
    const value = Number(digit) * (index % 2 === 1 ? 2 : 1);
    return total + (value > 9 ? value - 9 : value);
  }, 0);
  return sum % 10 === 0;
}
