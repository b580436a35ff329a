// Bearer tokens of internal faces: one token, compared in constant time.
import { createHash, timingSafeEqual } from 'node:crypto';
import { Problem } from '@ballast/contracts';
import type { FastifyRequest } from 'fastify';

/** An onRequest hook; throws `api_key_invalid` (401). */
export function requireBearer(token: string): (request: FastifyRequest) => Promise<void> {
  const wanted = digestOf(`Bearer ${token}`);
  return async (request) => {
    // Digests have one length, whatever was sent: timingSafeEqual throws on a mismatch of lengths.
    if (!timingSafeEqual(digestOf(request.headers.authorization ?? ''), wanted)) {
      throw new Problem('api_key_invalid', 'The Authorization header does not carry the right bearer token.', {
        errors: [{ pointer: 'Authorization', detail: 'is missing or wrong' }],
      });
    }
  };
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
