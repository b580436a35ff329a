// What a bank does wrong, on purpose. A script is a list of rules; the first that fits a request decides, and a rule with
// `times` is used up. Without a rule the bank behaves.
import { z } from 'zod';

export const behaviours = [
  'timeout_before_accepting', // the request vanishes; nothing in the books
  'timeout_after_accepting', // in the books, and never an answer
  'late', // answered after `delay_ms`
  'accepts_late', // the request is held up on its way: in the books only after `delay_ms`, and never an answer
  'answer_twice', // a second answer follows the first on the same connection
  'foreign_answer', // the answer of another reference
  'wrong_amount',
  'wrong_currency',
  'wrong_reference',
  'unknown_code',
  'server_error', // 500 before accepting
  'error_after_accepting', // in the books, answered 502
  'too_many', // 429
  'html',
  'empty',
  'truncated', // half of the answer, then the connection ends
  'huge', // 100 MB
  'gzip_bomb', // 100 MB of zeros, compressed
  'trickle', // one byte a second
  'reset_before_accepting',
  'reset_after_accepting',
  'reset_in_answer', // half of the answer, then RST
  'redirect',
  'partial_approval', // half the amount
  'pending', // the customer must confirm
  'not_found', // an inquiry or reversal of what is in the books: "never heard of it"
  'not_found_at_first', // the same, until what was charged is `delay_ms` old: its books reach its own desk late
  'reversal_refused',
  'reversal_unanswered', // reversed in the books, and never an answer
] as const;

export type Behaviour = (typeof behaviours)[number];

const ruleSchema = z.strictObject({
  behaviour: z.enum(behaviours),
  operation: z.enum(['charge', 'inquiry', 'reversal', 'refund', 'any']).default('any'),
  /** Used up after so many requests; absent: for ever. */
  times: z.int().min(1).max(1_000_000).optional(),
  /** Of the requests that fit, this share, at random. */
  probability: z.number().min(0).max(1).default(1),
  /** Only references that begin so. */
  reference_prefix: z.string().max(28).default(''),
  delay_ms: z.int().min(0).max(600_000).default(30_000),
});

export const scriptSchema = z.strictObject({
  /** Every connection is refused or reset while down. */
  down: z.boolean().default(false),
  /** Added to each answer. */
  extra_latency_ms: z.int().min(0).max(600_000).default(0),
  rules: z.array(ruleSchema).max(100).default([]),
});

export type Script = z.infer<typeof scriptSchema>;
export type Rule = z.infer<typeof ruleSchema>;
export type Operation = 'charge' | 'inquiry' | 'reversal' | 'refund';

export const noScript: Script = { down: false, extra_latency_ms: 0, rules: [] };

/** The rule for this request, and the script with one use of it gone. */
export function chooseRule(
  script: Script,
  operation: Operation,
  reference: string,
  random: () => number,
): { rule: Rule | null; next: Script } {
  const index = script.rules.findIndex(
    (rule) =>
      (rule.operation === 'any' || rule.operation === operation) &&
      reference.startsWith(rule.reference_prefix) &&
      random() < rule.probability,
  );
  const rule = script.rules[index];
  if (rule === undefined) return { rule: null, next: script };
  if (rule.times === undefined) return { rule, next: script };
  const left = rule.times - 1;
  const rules = left === 0 ? script.rules.toSpliced(index, 1) : script.rules.with(index, { ...rule, times: left });
  return { rule, next: { ...script, rules } };
}

/** A latency in ms, log-normal with this median and 99th percentile (z of 0.99 is 2.326). */
export function drawLatency({ p50_ms, p99_ms }: { p50_ms: number; p99_ms: number }, random: () => number): number {
  if (p50_ms === 0) return 0;
  const sigma = p99_ms > p50_ms ? Math.log(p99_ms / p50_ms) / 2.326 : 0;
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return p50_ms * Math.exp(sigma * normal);
}
