// A card's number, its track or a payment code belong in `payment_method` and nowhere else. Software of terminals puts them
// elsewhere all the same (a reference, a loyalty number that is the card's), and from there they would go into plain columns,
// events, other people's screens and webhooks.

type Method =
  | {
      readonly type: 'card';
      readonly number: string;
      readonly track2?: string | undefined;
      readonly pin_block?: string | undefined;
    }
  | { readonly type: 'code'; readonly code: string };

/** Of a track: the number, and what stands behind the separator. Less is too short to be told from any other number. */
const LONG_DIGITS = /[0-9]{12,}/g;
/** A payment code has ten letters and digits at least, everything else has more. */
const SHORTEST = 10;

/**
 * Whether the text holds this payment's own card number, track, PIN block or code, however it is grouped and in whatever
 * script its digits are. Exact: a reference that is only a number, also one that passes the Luhn check, is no alarm.
 */
export function holdsCardData(text: string, method: Method): boolean {
  if (isShort(text)) return false;
  const plain = asciiDigits(text)
    .toLowerCase()
    .replaceAll(/[^0-9a-z]/g, '');
  if (method.type === 'code') return plain.includes(method.code.toLowerCase());
  if (method.pin_block !== undefined && plain.includes(method.pin_block.toLowerCase())) return true;
  const digits = plain.replaceAll(/[a-z]/g, '');
  if (digits.includes(method.number)) return true;
  return (method.track2?.match(LONG_DIGITS) ?? []).some((number) => digits.includes(number));
}

/** Most texts of a payment are, and each payment has a dozen. */
function isShort(text: string): boolean {
  return text.length < SHORTEST && !BEYOND_ASCII.test(text);
}

/** A row of digits, in groups or not. Behind a plus it is a phone's. */
const ROW = /(?<![0-9a-z+])[0-9](?:[ .,_/-]?[0-9]){12,59}(?![0-9a-z])/gi;
/** As every card scheme issues them. */
const CARD_NUMBER = /^[2-6][0-9]{12,18}$/;

/**
 * For what people write in words (a name, a reason, a proof), where no payment says what to look for: whether groups of
 * digits that stand side by side make a card number.
 */
export function looksLikeCardNumber(text: string): boolean {
  return (asciiDigits(text).match(ROW) ?? []).some((row) => {
    const groups = row.split(/[^0-9]/);
    return groups.some((_, from) =>
      groups.some((__, to) => {
        const number = groups.slice(from, to + 1).join('');
        return CARD_NUMBER.test(number) && passesLuhn(number);
      }),
    );
  });
}

/** Luhn checksum (ISO/IEC 7812-1, annex B). */
export function passesLuhn(number: string): boolean {
  let sum = 0;
  for (let i = 0; i < number.length; i++) {
    const digit = number.charCodeAt(number.length - 1 - i) - 48;
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

const BEYOND_ASCII = /[^\0-\x7f]/;

/** The digits of every script as 0 to 9, also where they are written wide, raised or in circles. */
function asciiDigits(text: string): string {
  if (!BEYOND_ASCII.test(text)) return text;
  return text.normalize('NFKC').replaceAll(/\p{Nd}/gu, (digit) => String(digitValue(digit.codePointAt(0) ?? 0)));
}

/** Unicode keeps the ten digits of a script together and in order: a digit's value is its distance from the first one. */
function digitValue(codePoint: number): number {
  let first = codePoint;
  while (/\p{Nd}/u.test(String.fromCodePoint(first - 1))) first--;
  return (codePoint - first) % 10;
}
