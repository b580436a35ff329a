// W3C trace context: `00-<trace id>-<span id>-<flags>`.
import { randomUUID } from 'node:crypto';

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/**
 * The caller's trace with a span of our own; a new trace where there is none, or none that is well formed. One of digits
 * alone was not drawn at random: it is zero, or may be somebody's card number.
 */
export function childTraceparent(received: string | undefined): string {
  const found = received === undefined ? null : TRACEPARENT.exec(received);
  const span = randomHex().slice(0, 16);
  if (found === null || /^[0-9]+$/.test(found[1] ?? '')) return `00-${randomHex()}-${span}-01`;
  return `00-${found[1]}-${span}-${found[3]}`;
}

/** 32 hexadecimal digits, 122 of their 128 bits random. Node draws UUIDs from a pool: ten times cheaper than randomBytes. */
function randomHex(): string {
  return randomUUID().replaceAll('-', '');
}
