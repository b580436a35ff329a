// A terminal signs what it sends: HMAC-SHA256 over version, terminal, key, time, method, address, Idempotency-Key,
// deadline and the SHA-256 of the raw body (told to integrators in app.ts). Checked before the body is parsed. There is no
// store of nonces: a signed money POST carries its own idempotency key, so the same bytes again have no further effect.
import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import { Problem, uuidOf } from '@ballast/contracts';
import type { DatabaseClock } from '@ballast/database';
import type { FastifyRequest } from 'fastify';
import type { Directory, KnownKey } from '../merchants/directory.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the signature check. */
    signedBy: KnownKey | null;
  }
}

/** A terminal's clock may be this far from the database's. */
const WINDOW_MS = 300_000;
const KEY_ID = /^[A-Za-z0-9_-]{1,64}$/;
const TIMESTAMP = /^[0-9]{9,11}$/;
const SIGNATURE = /^v1=([0-9a-f]{64})$/;

/** The lines that are signed, joined by "\n". */
function signedText(of: {
  readonly terminal: string;
  readonly keyId: string;
  readonly timestamp: string;
  readonly method: string;
  readonly pathAndQuery: string;
  readonly idempotencyKey: string;
  readonly deadlineMs: string;
  readonly body: Buffer;
}): string {
  const bodyHash = hash('sha256', of.body);
  return `v1\n${of.terminal}\n${of.keyId}\n${of.timestamp}\n${of.method}\n${of.pathAndQuery}\n${of.idempotencyKey}\n${of.deadlineMs}\n${bodyHash}`;
}

/** A preValidation hook that sets `request.signedBy`, or throws a 401 that names the header. */
export function requireSignature(directory: Directory, clock: DatabaseClock) {
  return async (request: FastifyRequest): Promise<void> => {
    const terminal = header(request, 'ballast-terminal');
    const keyId = header(request, 'ballast-key-id');
    const timestamp = header(request, 'ballast-timestamp');
    const given = SIGNATURE.exec(header(request, 'ballast-signature'))?.[1];
    const terminalId = uuidOf('trm', terminal);
    if (terminalId === undefined) throw invalid('Ballast-Terminal', 'is not a terminal id of the form trm_<uuid>');
    if (!KEY_ID.test(keyId)) throw invalid('Ballast-Key-Id', 'is not a key id');
    if (!TIMESTAMP.test(timestamp)) throw invalid('Ballast-Timestamp', 'must be Unix time in whole seconds');
    if (given === undefined) throw invalid('Ballast-Signature', 'must be v1= and 64 lower-case hexadecimal digits');

    const known = await directory.find(terminalId, keyId);
    const text = signedText({
      terminal,
      keyId,
      timestamp,
      method: request.method,
      pathAndQuery: request.url,
      idempotencyKey: optionalHeader(request, 'idempotency-key'),
      deadlineMs: optionalHeader(request, 'ballast-deadline-ms'),
      body: request.rawBody,
    });
    // An unknown terminal and a wrong signature are told the same: neither says whether the terminal exists.
    if (known === undefined || !matches(createHmac('sha256', known.secret).update(text).digest(), given))
      throw invalid('Ballast-Signature', 'does not fit this request and key');
    const now = clock.now();
    if (Math.abs(now - Number(timestamp) * 1_000) > WINDOW_MS) {
      throw new Problem(
        'clock_skew',
        `The timestamp is more than 5 minutes from the server's time, ${new Date(now).toISOString()}.`,
        {
          errors: [
            {
              pointer: 'Ballast-Timestamp',
              detail: `is outside the window; server time is ${Math.floor(now / 1_000)}`,
            },
          ],
        },
      );
    }
    request.signedBy = known;
  };
}

function matches(computed: Buffer, givenHex: string): boolean {
  return timingSafeEqual(computed, Buffer.from(givenHex, 'hex')); // both 32 bytes: the shape was checked
}

function header(request: FastifyRequest, name: string): string {
  const value = request.headers[name];
  if (value === undefined || value === '') {
    throw new Problem('signature_missing', 'The request is not signed.', {
      errors: [{ pointer: titleOf(name), detail: 'is missing' }],
    });
  }
  return Array.isArray(value) ? value.join(', ') : value;
}

function optionalHeader(request: FastifyRequest, name: string): string {
  const value = request.headers[name] ?? '';
  return Array.isArray(value) ? value.join(', ') : value;
}

function titleOf(name: string): string {
  return name.replaceAll(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
}

function invalid(pointer: string, detail: string): Problem {
  return new Problem('signature_invalid', `${pointer} ${detail}.`, { errors: [{ pointer, detail }] });
}
