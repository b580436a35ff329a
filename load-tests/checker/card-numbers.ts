// Finds card numbers and known secrets in any text, whatever they are wrapped in: plain, grouped, percent-encoded, hex,
// UTF-16, base64. It looks for the ones that were used, and for everything that looks like one.

/** Card numbers begin with 2 to 6, have 13 to 19 digits and pass the Luhn check; one in ten random numbers does too. */
const SHORTEST = 13;
const LONGEST = 19;

const plain = /(?<![0-9A-Za-z._-])[2-6](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z._-])/g;
const hex = /(?<![0-9A-Fa-f])(?:3[0-9]){13,19}(?![0-9A-Fa-f])/g;
// Digits with a NUL or an escaped NUL between them: UTF-16 read as bytes, or as JSON.
const utf16 = /[2-6](?:(?:\0|\\u0000)[0-9]){12,18}/g;
const percent = /(?:%3[0-9]){13,19}/gi;

export interface Needle {
  readonly text: string;
  readonly name: string;
}

/** The forms in which a known text may hide, besides those that the patterns find by themselves. */
export function needlesOf(known: readonly string[], kind: 'card' | 'secret'): Needle[] {
  return known.flatMap((text) => {
    const name = kind === 'card' ? `card number ending ${text.slice(-4)}` : `secret beginning ${text.slice(0, 4)}`;
    const utf16le = Buffer.from(text, 'utf16le');
    const grouped = text.replace(/(.{4})(?=.)/g, '$1 ');
    const forms = [
      text,
      ...(kind === 'card' ? [grouped, grouped.replaceAll(' ', '-')] : []),
      Buffer.from(text).toString('hex'),
      Buffer.from(text).toString('hex').toUpperCase(),
      utf16le.toString('latin1'),
      utf16le.toString('hex'),
      ...base64CoresOf(Buffer.from(text)),
    ];
    return [...new Set(forms)].map((form) => ({ text: form, name }));
  });
}

/** Base64 of the text at each of the three alignments, without the characters that depend on its neighbours. */
function base64CoresOf(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64');
    const core = encoded
      .slice(shift === 0 ? 0 : shift + 1)
      .replace(/=+$/, '')
      .slice(0, -1);
    return core.includes('+') || core.includes('/') ? [core, core.replaceAll('+', '-').replaceAll('/', '_')] : [core];
  });
}

/** What is found in a text, masked; each name once. */
export function findSecrets(text: string, needles: readonly Needle[]): string[] {
  const found = new Set<string>();
  for (const needle of needles) if (text.includes(needle.text)) found.add(needle.name);
  for (const [pattern, digits] of shapes) {
    pattern.lastIndex = 0;
    for (const [match] of text.matchAll(pattern)) {
      const number = digits(match);
      if (number.length >= SHORTEST && number.length <= LONGEST && /^[2-6]/.test(number) && passesLuhn(number))
        found.add(`what looks like a card number ending ${number.slice(-4)}`);
    }
  }
  return [...found];
}

const shapes: readonly (readonly [RegExp, (match: string) => string])[] = [
  [plain, (match) => match.replaceAll(/[ -]/g, '')],
  [hex, (match) => Buffer.from(match, 'hex').toString('latin1')],
  [utf16, (match) => match.replaceAll(/\0|\\u0000/g, '')],
  [percent, (match) => decodeURIComponent(match)],
];

/** Every way of hiding a number that the scanner must see through, for its test of itself. */
export function planted(number: string): Readonly<Record<string, string>> {
  return {
    plain: `a=${number};`,
    spaced: number.replace(/(.{4})(?=.)/g, '$1 '),
    dashed: number.replace(/(.{4})(?=.)/g, '$1-'),
    hex: Buffer.from(number).toString('hex'),
    base64: Buffer.from(`{"pan":"${number}"}`).toString('base64'),
    'base64, shifted': Buffer.from(`{"card":"${number}"}`).toString('base64'),
    'base64, shifted twice': Buffer.from(`{"cards":"${number}"}`).toString('base64'),
    'UTF-16': Buffer.from(number, 'utf16le').toString('latin1'),
    'UTF-16 in hex': Buffer.from(number, 'utf16le').toString('hex'),
    'percent-encoded': [...number].map((digit) => `%${digit.charCodeAt(0).toString(16)}`).join(''),
  };
}

function passesLuhn(number: string): boolean {
  let sum = 0;
  for (let i = 0; i < number.length; i++) {
    const digit = number.charCodeAt(number.length - 1 - i) - 48;
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}
