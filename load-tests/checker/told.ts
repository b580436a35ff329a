// What terminals were told, held against what is stored: I-01, I-02, I-06.
import { createHash } from 'node:crypto';
import type { Operation, Told } from './history.ts';
import { uuidOf } from './history.ts';
import type { Invariant, World } from './invariant.ts';
import type { OrderRow, Story } from './story.ts';

/** I-01: every `ok` operation's effect is there, and reads back the same. */
export function effectsStand(heldNumbers: ReadonlySet<string>): Invariant {
  const seen = new Set<string>();
  const statusOfNumber = new Map<string, string>();
  return {
    id: 'I-01',
    says: 'every acknowledged operation is in the database and reads back the same',
    when: 'always',
    needs: 'histories',
    each: ({ order }, { history }, finding) => {
      if (order === null) return;
      if (history.heldVoids.length > 0) statusOfNumber.set(traceHash(order), order.status);
      const all = history.byOrder.get(order.order_id);
      if (all === undefined) return;
      seen.add(order.order_id);
      for (const told of all) {
        finding.evaluated();
        for (const fault of differences(order, told)) finding.violation(`order ${order.order_id}: ${fault}`);
      }
    },
    end: ({ history }, finding) => {
      for (const [id, all] of history.byOrder) {
        if (seen.has(id)) continue;
        finding.evaluated();
        finding.violation(`order ${id} was acknowledged (${all[0]?.operation.http}) and is not in the database`);
      }
      for (const operation of history.unreadable)
        finding.violation(`${operation.kind} ${operation.key}: ${operation.http} with a body that is no answer`);
      for (const operation of history.heldVoids) {
        finding.evaluated();
        const hash = traceHash(operation);
        const status = statusOfNumber.get(hash);
        if (status === undefined ? !heldNumbers.has(hash) : status !== 'cancelled')
          finding.violation(
            `void of ${operation.batch_number}/${operation.trace_number} was acknowledged before its payment, which is ${status ?? 'not held'}`,
          );
      }
    },
  };
}

function differences(order: OrderRow, { operation, body, final }: Told): string[] {
  const faults: string[] = [];
  const same = (what: string, told: unknown, stored: unknown) => {
    if (told !== stored) faults.push(`${operation.kind} was told ${what} ${told}, stored is ${stored}`);
  };
  same('merchant', uuidOf(operation.merchant_id), order.merchant_id);
  same('terminal', uuidOf(operation.terminal_id), order.terminal_id);
  if (operation.amount !== null) same('(asked) amount', operation.amount, order.amount);
  if (operation.currency !== null) same('(asked) currency', operation.currency, order.currency);
  same('trace number', body['trace_number'], order.trace_number);
  same('amount', body['amount'], order.amount);
  same('currency', body['currency'], order.currency);
  if (final && body['status'] !== order.answer_status)
    faults.push(`was told ${body['status']} finally, stored answer is ${order.answer_status}`);
  else if (final && operation.body !== order.answer)
    faults.push('the stored answer is not, byte for byte, what was told');
  if (operation.kind === 'void' && !order.void_requested && MONEY_MAY_STAND.has(order.status))
    faults.push(`a void was acknowledged, the order is ${order.status} without the wish`);
  return faults;
}

/** In these an acknowledged void must at least have left its wish. */
const MONEY_MAY_STAND = new Set(['processing', 'approved', 'in_doubt']);

/** The first 128 bits of SHA-256 over live or test, the terminal and its number, as a UUID (001_orders.sql says so). */
function traceHash(of: Pick<Operation, 'terminal_id' | 'livemode' | 'batch_number' | 'trace_number'>): string {
  const hex = createHash('sha256')
    .update(
      [
        'trace',
        of.livemode ? 'live' : 'test',
        uuidOf(of.terminal_id),
        of.batch_number.padStart(6, '0'),
        of.trace_number,
      ].join('\n'),
    )
    .digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/** I-02: one order per key and per terminal's number; all `ok` replies of one key agree in every money field. */
export function oneOrderPerKey(): Invariant {
  const numbers = new Map<string, string>();
  return {
    id: 'I-02',
    says: 'one order per key; all replies of one key agree in every money field',
    when: 'always',
    each: ({ order, keys, orderId }, _world, finding) => {
      finding.evaluated();
      if (order === null) return finding.violation(`rows of order ${orderId}, which does not exist`);
      if (keys.length !== 1) finding.violation(`order ${orderId} has ${keys.length} key rows`);
      const number = `${order.livemode ? 'live' : 'test'} ${order.terminal_id} ${order.batch_number.padStart(6, '0')}/${order.trace_number}`;
      const other = numbers.get(number);
      if (other !== undefined) finding.violation(`orders ${other} and ${orderId} are both number ${number}`);
      numbers.set(number, orderId);
    },
    end: ({ history }, finding) => {
      const orderOfKey = new Map<string, string>();
      for (const [id, all] of history.byOrder) {
        let first: Told | undefined;
        for (const told of all) {
          if (told.operation.kind !== 'payment') continue;
          finding.evaluated();
          const key = `${told.operation.terminal_id} ${told.operation.key}`;
          const other = orderOfKey.get(key);
          if (other !== undefined && other !== id)
            finding.violation(`key ${told.operation.key} was told orders ${other} and ${id}`);
          orderOfKey.set(key, id);
          if (!told.final) continue;
          if (first !== undefined && first.operation.body !== told.operation.body)
            finding.violation(`order ${id}: two final answers differ`);
          first ??= told;
        }
      }
    },
  };
}

/** Where an order may stand in the end, by what its terminal was told finally. */
const consistent: Readonly<Record<string, (order: OrderRow, story: Story) => boolean>> = {
  // A void, or a person's decision, may undo it later: then the order says that it was wished.
  approved: (order) =>
    order.status === 'approved' ||
    (order.void_requested && ['reversing', 'reversed', 'reversal_refused'].includes(order.status)),
  declined: (order) => order.status === 'declined',
  not_completed: (order) => ['not_completed', 'reversing', 'reversed', 'reversal_refused'].includes(order.status),
  cancelled: (order) => order.status === 'cancelled',
};

/** I-06: what a terminal was told never contradicts the final order. */
export function noContradiction(): Invariant {
  return {
    id: 'I-06',
    says: 'what a terminal was told never contradicts the final order',
    when: 'quiet',
    each: (story, { history }: World, finding) => {
      const { order } = story;
      if (order === null) return;
      const told = (history.byOrder.get(order.order_id) ?? []).flatMap(({ operation, body, final }) => {
        if (final) return [String(body['status'])];
        return operation.kind === 'get' && typeof body['answer'] === 'string' ? [body['answer']] : [];
      });
      if (order.answer_status !== null) told.push(order.answer_status);
      for (const answer of new Set(told)) {
        finding.evaluated();
        if (consistent[answer]?.(order, story) !== true)
          finding.violation(`order ${order.order_id}: the terminal was told ${answer}, the order is ${order.status}`);
      }
      if (['approved', 'declined', 'not_completed', 'cancelled'].includes(order.status) && order.answer_status === null)
        finding.violation(`order ${order.order_id} is ${order.status} without a stored answer`);
    },
  };
}
