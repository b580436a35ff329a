// The way in: overload and quotas are looked at once the sender is known and before anything is stored, so a refusal here
// uses up no key and reaches no bank. In a storm most of what is refused are copies: what became of a first one is not
// looked at, and not said.
import { Problem } from '@ballast/contracts';
import type { Inbound, InboundRefusal } from '@ballast/resilience';
import type { FastifyReply, FastifyRequest } from 'fastify';

export type Interface = 'payments' | 'voids' | 'lookup';

/** Runs `work` as one request of its interface, merchant and terminal; throws `overloaded` (503) or `rate_limited` (429). */
export async function admitted<T>(
  inbound: Inbound,
  name: Interface,
  { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
  work: () => Promise<T>,
): Promise<T> {
  const terminal = request.signedBy?.terminal;
  if (terminal === undefined) throw new Error('BUG: a request is admitted before its signature is checked');
  const admission = inbound.admit({
    interface: name,
    merchant: terminal.merchantId,
    terminal: terminal.terminalId,
    essential: name !== 'payments',
  });
  if (admission.kind === 'refused') throw refusal(admission.refusal, reply);
  try {
    return await work();
  } finally {
    admission.leave();
  }
}

function refusal({ rule, reason, numbers, retryAfterMs, rulesVersion }: InboundRefusal, reply: FastifyReply): Problem {
  const retryAfterSeconds = Math.max(1, Math.ceil(retryAfterMs / 1_000));
  const seen = Object.entries(numbers).map(([name, value]) => `${name} ${value}`);
  // draft-ietf-httpapi-ratelimit-headers: nothing remains until then.
  reply.header('ratelimit', `"${rule}";r=0;t=${retryAfterSeconds}`);
  return new Problem(
    rule === 'overload' ? 'overloaded' : 'rate_limited',
    `${reason} (rule ${rule}, version ${rulesVersion}; ${seen.join(', ')}). This sending stored nothing.`,
    { retryAfterSeconds },
  );
}
