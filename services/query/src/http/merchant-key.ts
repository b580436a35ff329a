// Authorization: Bearer <API key>. The key alone says whose orders, live or test, the request sees.

import { Problem } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { scopeOf } from '../keys/api-keys.ts';
import type { Scope } from '../orders/read-orders.sql.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `requireKey`; null on routes without it. */
    scope: Scope | null;
  }
}

const BEARER = /^Bearer ([!-~]{1,256})$/;

/** An onRequest hook; throws `api_key_invalid` (401). */
export function requireKey(knex: Knex): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  return async (request, reply) => {
    const [, key] = BEARER.exec(request.headers.authorization ?? '') ?? [];
    const scope = key === undefined ? undefined : await scopeOf(knex, key);
    if (scope === undefined) {
      throw new Problem('api_key_invalid', 'Send "Authorization: Bearer <API key>" with a key that is not revoked.', {
        errors: [{ pointer: 'Authorization', detail: 'is missing or wrong' }],
      });
    }
    request.scope = scope;
    // What is read is whole, but new events wait behind the replay: the reader is told.
    if (scope.rebuilding) reply.header('ballast-rebuilding', 'true');
  };
}

export function scopeOfRequest(request: FastifyRequest): Scope {
  if (request.scope === null) throw new Error('BUG: a route reads orders without asking for a key');
  return request.scope;
}
