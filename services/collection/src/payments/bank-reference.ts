// Our own reference at a bank: order id (128 bits) and attempt number (12 bits) in base32, 28 characters. Unique by
// construction, and it leads back to one partition. Alphabet: RFC 4648 base32hex, whose order is the order of the bits.

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUV';
const MAX_ATTEMPT = 0xfff;

export function bankReference(orderId: string, attempt: number): string {
  if (!Number.isInteger(attempt) || attempt < 1 || attempt > MAX_ATTEMPT) {
    throw new RangeError(`attempt must be 1 to ${MAX_ATTEMPT}, is ${attempt}`);
  }
  const bits = Buffer.alloc(18); // 16 bytes of id, then the attempt in the next 12 bits
  bits.write(orderId.replaceAll('-', ''), 'hex');
  bits.writeUInt16BE(attempt << 4, 16);
  let text = '';
  let held = 0;
  let heldBits = 0;
  for (const byte of bits) {
    held = ((held << 8) | byte) & 0xfff; // at most 4 bits are left over, so 12 bits always suffice
    heldBits += 8;
    while (heldBits >= 5 && text.length < 28) {
      heldBits -= 5;
      text += ALPHABET[(held >> heldBits) & 31];
    }
  }
  return text;
}

/** The order and attempt a reference of ours names, or null when the text cannot be one. */
export function fromBankReference(reference: string): { orderId: string; attempt: number } | null {
  if (!/^[0-9A-V]{28}$/.test(reference)) return null;
  let bits = 0n;
  for (const character of reference) bits = (bits << 5n) | BigInt(ALPHABET.indexOf(character));
  const hex = (bits >> 12n).toString(16).padStart(32, '0');
  const orderId = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  return { orderId, attempt: Number(bits & 0xfffn) };
}
