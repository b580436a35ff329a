// Logging in by SCRAM-SHA-512 (RFC 5802): both sides prove that they know the password, and neither says it.
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const HASH = 'sha512';
const HASH_BYTES = 64;
/** Fewer would make a stolen exchange cheap to search (the RFC's least); more would hold the event loop's threads. */
const LEAST_ITERATIONS = 4_096;
const MOST_ITERATIONS = 1_000_000;

/** `exchange` sends one message of ours and resolves to the server's answer. Rejects when either side is not believed. */
export async function scramLogin(
  username: string,
  password: string,
  exchange: (message: Buffer) => Promise<Buffer>,
): Promise<void> {
  const nonce = randomBytes(24).toString('base64url');
  const name = username.replaceAll('=', '=3D').replaceAll(',', '=2C');
  const first = `n=${name},r=${nonce}`;
  const challenge = (await exchange(Buffer.from(`n,,${first}`))).toString();
  const { r: both = '', s: salt = '', i = '' } = fieldsOf(challenge);
  const iterations = Number(i);
  if (!both.startsWith(nonce) || both === nonce || !(iterations >= LEAST_ITERATIONS && iterations <= MOST_ITERATIONS))
    throw new Error('the broker sent a SCRAM challenge that does not fit');
  const salted = await promisify(pbkdf2)(password, Buffer.from(salt, 'base64'), iterations, HASH_BYTES, HASH);
  const final = `c=biws,r=${both}`; // biws: "n,," in base64
  const signed = `${first},${challenge},${final}`;
  const clientKey = hmac(salted, 'Client Key');
  const signature = hmac(createHash(HASH).update(clientKey).digest(), signed);
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] ?? 0)));
  const answer = fieldsOf((await exchange(Buffer.from(`${final},p=${proof.toString('base64')}`))).toString());
  const theirs = Buffer.from(answer['v'] ?? '', 'base64');
  const expected = hmac(hmac(salted, 'Server Key'), signed);
  if (theirs.length !== expected.length || !timingSafeEqual(theirs, expected))
    throw new Error('the broker did not prove that it knows the password');
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac(HASH, key).update(text).digest();
}

function fieldsOf(message: string): Record<string, string> {
  return Object.fromEntries(message.split(',').map((field) => [field.slice(0, 1), field.slice(2)]));
}
