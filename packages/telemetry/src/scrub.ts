// Card numbers by their shape: 12 to 19 digits, perhaps in groups, that pass the Luhn check.

const CANDIDATE =
  /(?<![0-9A-Za-z.])(?:[0-9](?:[ -]?[0-9]){11,18}|[0-9]{4}([._])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7})(?![0-9A-Za-z])/g;
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const UUID_LENGTH = 36;

/** The text with every run of digits that may be a card number replaced. Times and ids are left as they are. */
export function scrub(text: string): string {
  return text.replace(CANDIDATE, (found, _separator, at: number) =>
    passesLuhn(found.replaceAll(/[^0-9]/g, '')) && !isOfAnId(text, at) ? '[card number removed]' : found,
  );
}

/** Of two thousand UUIDs one has groups that are all digits, and pass the check. */
function isOfAnId(text: string, at: number): boolean {
  const around = text.slice(Math.max(0, at - UUID_LENGTH), at + UUID_LENGTH);
  const place = Math.min(at, UUID_LENGTH);
  return [...around.matchAll(UUID)].some(({ index }) => index < place && place < index + UUID_LENGTH);
}

function passesLuhn(digits: string): boolean {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - 48;
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}
