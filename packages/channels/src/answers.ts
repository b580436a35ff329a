// What a bank's answers look like, and whether one really is the answer to what was asked. Whatever is not clear and
// matching in reference, amount, currency, merchant and terminal is doubt.
import { z } from 'zod';
import type { ChargeIdentity, ChargeOutcome, Evidence, InquiryOutcome, ReversalOutcome } from './bank-channel.ts';
import type { Exchange } from './exchange.ts';

/** What is kept of a bank's words goes into columns, events and answers: short, and nothing but what such a code is made of. */
const code = (longest: number) => z.string().regex(new RegExp(`^[0-9A-Za-z_-]{1,${longest}}$`));

const chargeAnswer = z.object({
  result: z.enum(['approved', 'declined', 'pending', 'reversed']),
  reference: z.string(),
  amount: z.int().positive(),
  currency: z.string(),
  merchant_number: z.string(),
  terminal_number: z.string(),
  response_code: code(8),
  decline_code: z
    .string()
    .regex(/^[a-z_]{1,64}$/)
    .optional(),
  // ISO 8583: an 12 and an 6; some banks write more, none as much as a card number.
  rrn: code(12).optional(),
  authorization_code: code(12).optional(),
});

const notFoundAnswer = z.object({ result: z.literal('not_found'), reference: z.string() });

const reversalAnswer = z.union([
  z.object({ result: z.literal('reversed'), reference: z.string(), already: z.boolean() }),
  z.object({ result: z.literal('refused'), reference: z.string(), response_code: code(8) }),
]);

/** `answer`: what the bank said, clear or not. Technical trouble says something about the channel's health. */
export interface Read<T> {
  readonly outcome: T;
  readonly healthy: boolean;
}

/** `secrets`: what was sent and must not be kept, should the bank echo it. */
export function readCharge(
  asked: ChargeIdentity,
  reply: Exchange,
  request: string,
  secrets: readonly string[] = [],
): Read<ChargeOutcome> {
  if (reply.kind !== 'response') return broken(reply, request);
  const evidence = evidenceOf(request, reply, secrets);
  const answer = chargeAnswer.safeParse(jsonOf(reply.text));
  if (reply.status !== 200 || !answer.success)
    return doubt(reply.status === 200 ? 'answer_not_understood' : `http_${reply.status}`, evidence, false);
  const { result, response_code: bankCode, rrn, authorization_code: authorizationCode } = answer.data;
  const mismatch = mismatchOf(asked, answer.data, result === 'approved');
  if (mismatch !== null) return doubt(`mismatch_${mismatch}`, evidence, false);
  switch (result) {
    case 'approved':
      if (rrn === undefined || authorizationCode === undefined) return doubt('answer_not_understood', evidence, false);
      return {
        outcome: { kind: 'approved', amount: BigInt(answer.data.amount), rrn, authorizationCode, bankCode, evidence },
        healthy: true,
      };
    case 'declined':
      return {
        outcome: { kind: 'declined', declineCode: answer.data.decline_code ?? 'declined', bankCode, evidence },
        healthy: true,
      };
    case 'pending':
      return doubt('customer_must_confirm', evidence, true);
    case 'reversed':
      return doubt('reversed_at_bank', evidence, true);
  }
}

export function readInquiry(asked: ChargeIdentity, reply: Exchange, request: string): Read<InquiryOutcome> {
  if (reply.kind === 'response' && reply.status === 404) {
    const answer = notFoundAnswer.safeParse(jsonOf(reply.text));
    const evidence = evidenceOf(request, reply);
    if (answer.success && answer.data.reference === asked.bankReference)
      return { outcome: { kind: 'not_found', evidence }, healthy: true };
    return doubt('http_404', evidence, false);
  }
  return readCharge(asked, reply, request);
}

export function readReversal(asked: ChargeIdentity, reply: Exchange, request: string): Read<ReversalOutcome> {
  if (reply.kind !== 'response') return broken(reply, request);
  const evidence = evidenceOf(request, reply);
  const body = jsonOf(reply.text);
  const missing = reply.status === 404 ? notFoundAnswer.safeParse(body) : null;
  if (missing?.success && missing.data.reference === asked.bankReference)
    return { outcome: { kind: 'not_found', evidence }, healthy: true };
  const answer = reversalAnswer.safeParse(body);
  if (reply.status !== 200 || !answer.success)
    return doubt(reply.status === 200 ? 'answer_not_understood' : `http_${reply.status}`, evidence, false);
  if (answer.data.reference !== asked.bankReference) return doubt('mismatch_reference', evidence, false);
  return answer.data.result === 'reversed'
    ? { outcome: { kind: 'reversed', already: answer.data.already, evidence }, healthy: true }
    : { outcome: { kind: 'refused', bankCode: answer.data.response_code, evidence }, healthy: true };
}

type Doubt = Extract<ChargeOutcome, { kind: 'in_doubt' } | { kind: 'not_sent' }>;

function doubt(reason: string, evidence: Evidence, healthy: boolean): Read<Doubt> {
  return { outcome: { kind: 'in_doubt', reason, evidence }, healthy };
}

function broken(reply: Exclude<Exchange, { kind: 'response' }>, request: string): Read<Doubt> {
  if (reply.kind === 'not_sent')
    return {
      outcome: { kind: 'not_sent', reason: reply.reason, refusedByUs: false, retryAfterSeconds: null },
      healthy: false,
    };
  return doubt(reply.reason, { request, response: '', httpStatus: reply.status }, false);
}

/** Only a smaller approved amount is a word of the bank (a partial approval); a larger one is nobody's. */
function mismatchOf(asked: ChargeIdentity, answer: z.infer<typeof chargeAnswer>, approved: boolean): string | null {
  if (answer.reference !== asked.bankReference) return 'reference';
  if (answer.currency !== asked.currency) return 'currency';
  if (answer.merchant_number !== asked.merchantNumber) return 'merchant';
  if (answer.terminal_number !== asked.terminalNumber) return 'terminal';
  const amount = BigInt(answer.amount);
  return amount > asked.amount || (amount !== asked.amount && !approved) ? 'amount' : null;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // not JSON is not an answer; the schema refuses undefined
  }
}

const KEPT = 1_000;
/** Masking shortens at most 19 characters to 8: what is cut after it never shows half of what was masked. */
const MASKED = 4 * KEPT;
const DIGITS = /(?<![0-9A-Za-z])[0-9](?:[ -]?[0-9]){11,18}(?![0-9A-Za-z])/g;

/** The answer as it came, cut to what is worth keeping: without what we sent in secret, without runs of 12 to 19 digits. */
function evidenceOf(
  request: string,
  reply: Extract<Exchange, { kind: 'response' }>,
  secrets: readonly string[] = [],
): Evidence {
  let response = reply.text.slice(0, MASKED);
  for (const secret of secrets) if (response.includes(secret)) response = without(response, secret);
  response = response.replaceAll(DIGITS, '[digits]').replaceAll('\u0000', '').slice(0, KEPT);
  return { request, response: response.toWellFormed(), httpStatus: reply.status };
}

/** Three digits of a CVV inside a longer number are not the CVV; anything longer goes wherever it stands. */
function without(text: string, secret: string): string {
  const pattern = secret.length > 4 ? secret : new RegExp(`(?<![0-9A-Za-z])${secret}(?![0-9A-Za-z])`, 'g');
  return text.replaceAll(pattern, '[removed]');
}
