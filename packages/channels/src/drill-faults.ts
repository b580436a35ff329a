// A drill's faults, done at the wire in place of, before or after the real exchange. What pretends to have been sent and
// was not (timeout, reset, server error) leaves doubt that an inquiry ends without harm: the bank never saw it.
import type { Fault } from '@ballast/resilience';
import type { Exchange } from './exchange.ts';

export interface FaultyExchange {
  /** The real exchange. */
  readonly send: () => Promise<Exchange>;
  /** Says that bytes may have left. */
  readonly onStart: () => void;
  /** Aborted when nobody waits any more. */
  readonly signal: AbortSignal;
}

/** One per channel: it remembers an answer, for the drill that gives it a second time. */
export function createFaults(): (fault: Fault, exchange: FaultyExchange) => Promise<Exchange> {
  let remembered: Exchange | null = null;

  return async (fault, { send, onStart, signal }) => {
    switch (fault.kind) {
      case 'latency':
        await untilAborted(signal, fault.ms);
        return send();
      case 'timeout':
        onStart();
        await untilAborted(signal, null);
        return { kind: 'lost', reason: 'drill_timeout', status: null };
      case 'reset':
        onStart();
        return { kind: 'lost', reason: 'econnreset', status: null };
      case 'server_error':
        onStart();
        return { kind: 'response', status: fault.status, text: '' };
      case 'wrong_amount':
        return withWrongAmount(await send());
      case 'duplicate_answer': {
        const answer = await send();
        const earlier = remembered ?? answer;
        if (answer.kind === 'response') remembered = answer;
        return earlier;
      }
      case 'trickle': {
        const answer = await send();
        const length = answer.kind === 'response' ? answer.text.length : 0;
        await untilAborted(signal, (length * 1_000) / fault.bytesPerSecond);
        return answer;
      }
    }
  };
}

function withWrongAmount(answer: Exchange): Exchange {
  if (answer.kind !== 'response') return answer;
  const text = answer.text.replace(/("amount":)([0-9]+)/, (_, key, amount) => `${key}${Number(amount) + 1}`);
  return { ...answer, text };
}

/** Null: for as long as somebody waits. */
function untilAborted(signal: AbortSignal, ms: number | null): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = ms === null ? undefined : setTimeout(resolve, ms);
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
