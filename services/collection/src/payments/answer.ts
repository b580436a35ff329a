// What a terminal is told, as JSON text. A final answer is composed before commit 2, stored with the order and replayed
// byte for byte, so it holds only what never changes: request ids and clocks travel in headers.
import { amountToJson, type FinalAnswer, type OrderStatus, publicId } from '@ballast/contracts';

/** What every answer about an order says, whatever its status. */
export interface OrderFacts {
  readonly orderId: string;
  readonly livemode: boolean;
  readonly amount: bigint;
  readonly currency: string;
  readonly batchNumber: string;
  readonly traceNumber: string;
  readonly merchantReference: string | null;
  readonly businessDate: string;
  readonly acceptedAt: string;
  readonly cardBin: string | null;
  readonly cardLastFour: string | null;
}

export interface AnswerDetails {
  readonly approvedAmount?: bigint | null;
  readonly declineCode?: string | null;
  readonly authorizationCode?: string | null;
  readonly rrn?: string | null;
  readonly approveUntil?: string;
  readonly answer?: FinalAnswer | null;
}

/** One sentence that a cashier understands; it never promises more than is known. */
const messages: Readonly<Record<OrderStatus, string>> = {
  processing: 'The payment is being made. Ask again in a moment.',
  approved: 'Approved.',
  declined: 'Declined. Nothing was charged; ask for another card or way to pay.',
  in_doubt: 'The bank has not answered yet. Do not take the payment again; ask for its outcome.',
  not_completed: 'Not completed. If the bank did take anything it is being returned; the payment may be made again.',
  cancelled: 'Cancelled before anything was sent to the bank.',
  reversing: 'The payment is being returned to the customer.',
  reversed: 'The payment was returned to the customer.',
  reversal_refused: 'The bank kept the payment. It can be given back by a refund.',
};

export function answerJson(facts: OrderFacts, status: OrderStatus, details: AnswerDetails = {}): string {
  return JSON.stringify({
    id: publicId('ord', facts.orderId),
    status,
    amount: amountToJson(facts.amount),
    currency: facts.currency,
    approved_amount: details.approvedAmount == null ? undefined : amountToJson(details.approvedAmount),
    livemode: facts.livemode,
    batch_number: facts.batchNumber,
    trace_number: facts.traceNumber,
    merchant_reference: facts.merchantReference ?? undefined,
    business_date: facts.businessDate,
    created_at: facts.acceptedAt,
    card:
      facts.cardBin === null || facts.cardLastFour === null
        ? undefined
        : { bin: facts.cardBin, last_four: facts.cardLastFour },
    decline_code: details.declineCode ?? undefined,
    authorization_code: details.authorizationCode ?? undefined,
    rrn: details.rrn ?? undefined,
    approve_until: details.approveUntil,
    message: messages[status],
    answer: details.answer ?? undefined,
  });
}
