// Card numbers by their shape: 12 to 19 digits, perhaps in groups, that pass the Luhn check.

/** A row of digits, in groups or not; with dots or underscores between them only where the groups are those of a card. */
const ROW =
  /(?<![0-9A-Za-z.])(?:[0-9](?:[ -]?[0-9]){11,59}|[0-9]{4}([._])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7})(?![0-9A-Za-z])/g;
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const UUID_LENGTH = 36;

/** The text with every row of digits that may hold a card number replaced. Times and ids are left as they are. */
export function scrub(text: string): string {
  return text.replace(ROW, (row, _separator, at: number) =>
    holdsCardNumber(row) && !isOfAnId(text, at) ? '[card number removed]' : row,
  );
}

/** Other numbers may stand beside it: any groups that follow each other count. */
function holdsCardNumber(row: string): boolean {
  const groups = row.split(/[^0-9]/);
  return groups.some((_, from) =>
    groups.some((__, to) => {
      const number = groups.slice(from, to + 1).join('');
      return number.length >= 12 && number.length <= 19 && passesLuhn(number);
    }),
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
