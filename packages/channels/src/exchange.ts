// One HTTP exchange with a bank that knows exactly whether a byte may have left. undici tells us synchronously when it
// is about to write a request to a socket; that is where the sender's deadline is looked at, in the same turn as the
// write. What never got there was provably not sent.
import type { Dispatcher } from 'undici';

export interface ExchangeRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  /** Monotonic ms after which nothing may be written any more. */
  readonly sendBefore: number;
  /** Asked in the turn of the write: an operator may have closed the channel while the connection was made. */
  readonly maySend: () => boolean;
  readonly signal: AbortSignal;
}

export type Exchange =
  | { readonly kind: 'response'; readonly status: number; readonly text: string }
  | { readonly kind: 'not_sent'; readonly reason: string }
  /** A byte may have left, and there is no whole answer. */
  | { readonly kind: 'lost'; readonly reason: string; readonly status: number | null };

/** A bank's answer is a few hundred bytes; beyond this it is not an answer. */
const MAX_ANSWER = 65_536;

/** Never rejects. `onStart` is told in the turn in which the request is written. */
export function exchange(dispatcher: Dispatcher, request: ExchangeRequest, onStart: () => void): Promise<Exchange> {
  return new Promise((resolve) => {
    let started = false;
    let status: number | null = null;
    let size = 0;
    const chunks: Buffer[] = [];
    const lost = (reason: string) => resolve(started ? { kind: 'lost', reason, status } : { kind: 'not_sent', reason });
    dispatcher.dispatch(
      { method: request.method, path: request.path, headers: { ...request.headers }, body: request.body },
      {
        onRequestStart: (controller) => {
          const late = performance.now() >= request.sendBefore;
          const shut = !request.maySend();
          if (late || shut || request.signal.aborted) {
            const reason = late ? 'deadline_before_send' : shut ? 'gate_before_send' : 'abandoned_before_send';
            resolve({ kind: 'not_sent', reason });
            controller.abort(new Error(reason));
            return;
          }
          started = true;
          onStart();
          // passing step: the request is on its way
          request.signal.addEventListener('abort', () => controller.abort(new Error('abandoned')), { once: true });
        },
        onResponseStart: (_controller, statusCode) => {
          if (statusCode >= 200) status = statusCode;
        },
        onResponseData: (controller, chunk) => {
          size += chunk.length;
          if (size <= MAX_ANSWER) return void chunks.push(chunk);
          lost('answer_too_large');
          controller.abort(new Error('answer too large'));
        },
        onResponseEnd: () => {
          if (status === null) lost('no_status');
          else resolve({ kind: 'response', status, text: Buffer.concat(chunks).toString('utf8') });
        },
        onResponseError: (_controller, error) => lost(reasonOf(error)),
      },
    );
  });
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'error';
  return code.toLowerCase();
}
