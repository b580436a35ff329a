// The keys that come from configuration: master keys by name (one of them current), and the fingerprint's. Key objects
// are made once: with a Buffer for a key, each HMAC and cipher costs three times as much under Node 24 (docs/facts.md).
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { keyNameOf, open, seal } from './sealed.ts';

export interface KeysConfig {
  readonly current: string;
  /** Name → 32 bytes in base64. Old ones stay until everything under them was sealed anew. */
  readonly keys: Readonly<Record<string, string>>;
  /** Stays as it is: by it a request sent again, and a card used again, are recognised. */
  readonly fingerprint: string;
}

export interface MasterKeys {
  seal(plain: string | Buffer, boundTo: string): Buffer;
  open(sealed: Buffer, boundTo: string): Buffer;
  /** False: sealed under an older master key, to be sealed anew. */
  isCurrent(sealed: Buffer): boolean;
  /** Keyed, so that the few possible card numbers cannot be tried out against it. 32 bytes. */
  fingerprint(text: string): Buffer;
}

export function openMasterKeys(config: KeysConfig): MasterKeys {
  const keys = new Map(Object.entries(config.keys).map(([name, text]) => [name, keyOf(name, text)]));
  const current = keys.get(config.current);
  if (current === undefined)
    throw new RangeError(`keys.current names "${config.current}", which is not among keys.keys`);
  const fingerprintKey = keyOf('fingerprint', config.fingerprint);
  return {
    seal: (plain, boundTo) => seal(plain, config.current, current, boundTo),
    open: (sealed, boundTo) => open(sealed, (name) => keys.get(name), boundTo),
    isCurrent: (sealed) => keyNameOf(sealed) === config.current,
    fingerprint: (text) => createHmac('sha256', fingerprintKey).update(text).digest(),
  };
}

function keyOf(name: string, base64: string): KeyObject {
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length !== 32) throw new RangeError(`keys: "${name}" must be 32 bytes in base64, is ${bytes.length}`);
  return createSecretKey(bytes);
}
