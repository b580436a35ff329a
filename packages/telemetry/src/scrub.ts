// Card numbers by their shape: 12 to 19 digits, perhaps in groups, that pass the Luhn check.

const CANDIDATE = /(?<![0-9A-Za-z.])[0-9](?:[ -]?[0-9]){11,18}(?![0-9A-Za-z])/g;

/** The text with every run of digits that may be a card number replaced. Times and short ids are left as they are. */
export function scrub(text: string): string {
  return text.replace(CANDIDATE, (found) =>
    passesLuhn(found.replaceAll(/[ -]/g, '')) ? '[card number removed]' : found,
  );
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
