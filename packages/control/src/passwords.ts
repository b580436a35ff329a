// Passwords by argon2id, kept in its usual text form: $argon2id$v=19$m=…,t=…,p=…$salt$hash.
import { argon2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(argon2);

/** OWASP's least for argon2id: 19 MiB, two passes. Some 50 ms here; sign-ins are rare. */
const PARAMETERS = { memory: 19_456, passes: 2, parallelism: 1 };
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Of what a stored text may ask of us. */
const MOST_MEMORY = 1_048_576;

const FORM = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{8,64})\$([A-Za-z0-9+/]{16,128})$/;

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const { memory, passes, parallelism } = PARAMETERS;
  const hash = await derive('argon2id', { ...PARAMETERS, message: password, nonce: salt, tagLength: HASH_BYTES });
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpadded(salt)}$${unpadded(hash)}`;
}

/** Takes as long where nothing is stored: whether a name exists must not be told by the clock. */
export async function isPassword(password: string, stored: string | undefined): Promise<boolean> {
  const found = FORM.exec(stored ?? '');
  const [, memory = '', passes = '', parallelism = '', salt = '', hash = ''] = found ?? [];
  const known = Buffer.from(hash, 'base64');
  const parameters =
    found === null || Number(memory) > MOST_MEMORY
      ? { ...PARAMETERS, nonce: Buffer.alloc(SALT_BYTES), tagLength: HASH_BYTES }
      : {
          memory: Number(memory),
          passes: Number(passes),
          parallelism: Number(parallelism),
          nonce: Buffer.from(salt, 'base64'),
          tagLength: known.length,
        };
  const derived = await derive('argon2id', { ...parameters, message: password });
  return derived.length === known.length && timingSafeEqual(derived, known);
}

const unpadded = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '');
