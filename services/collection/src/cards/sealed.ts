// AES-256-GCM with the key's name in the ciphertext and the place it belongs to as additional data: a sealed value copied
// to another row does not open. Layout: 1 byte length of the key's name, the name, 12 bytes nonce, ciphertext, 16 bytes tag.
import { createCipheriv, createDecipheriv, type KeyObject, randomFillSync } from 'node:crypto';

const ALGORITHM = 'aes-256-gcm';
/** Random 96-bit nonces are safe for 2^32 messages under one key (NIST SP 800-38D, 8.3); a day has fewer payments. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export class CannotOpen extends Error {
  constructor(reason: string) {
    super(`sealed value cannot be opened: ${reason}`);
    this.name = 'CannotOpen';
  }
}

/** `boundTo` must be the same when the value is opened. */
export function seal(plain: string | Buffer, keyName: string, key: KeyObject, boundTo: string): Buffer {
  const name = Buffer.from(keyName, 'ascii');
  const nonce = nextNonce();
  const cipher = createCipheriv(ALGORITHM, key, nonce);
  cipher.setAAD(Buffer.from(`${keyName}\n${boundTo}`));
  const text = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([Buffer.from([name.length]), name, nonce, text, cipher.getAuthTag()]);
}

/** `keyOf` finds a key by its name; undefined: the key is gone, and with it the value. Throws CannotOpen. */
export function open(sealed: Buffer, keyOf: (name: string) => KeyObject | undefined, boundTo: string): Buffer {
  const nameEnd = 1 + (sealed[0] ?? 0);
  if (sealed.length < nameEnd + NONCE_BYTES + TAG_BYTES) throw new CannotOpen('too short');
  const keyName = keyNameOf(sealed);
  const key = keyOf(keyName);
  if (key === undefined) throw new CannotOpen(`no key ${keyName}`);
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(nameEnd, nameEnd + NONCE_BYTES));
  decipher.setAAD(Buffer.from(`${keyName}\n${boundTo}`));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(nameEnd + NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch (error) {
    throw new CannotOpen(`wrong key, place or content (${error instanceof Error ? error.message : String(error)})`);
  }
}

/** Drawn in one go for hundreds of values: a system call each costs as much as the encryption. Each is used once. */
const nonces = Buffer.alloc(NONCE_BYTES * 512);
let noncesUsed = nonces.length;

function nextNonce(): Buffer {
  if (noncesUsed === nonces.length) {
    randomFillSync(nonces);
    noncesUsed = 0;
  }
  noncesUsed += NONCE_BYTES;
  return Buffer.from(nonces.subarray(noncesUsed - NONCE_BYTES, noncesUsed));
}

export function keyNameOf(sealed: Buffer): string {
  return sealed.subarray(1, 1 + (sealed[0] ?? 0)).toString('ascii');
}
