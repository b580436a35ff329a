// What is taken for a payment's own card number, and what is not.
import { describe, expect, test } from 'vitest';
import { holdsCardData, looksLikeCardNumber } from '../src/index.ts';

const NUMBER = '4242424242424242';
const card = { type: 'card', number: NUMBER } as const;
const LAST_CODE_POINT = 0x10ffff;

/** The ten digits of each script that Unicode has. */
function scripts(): string[][] {
  const digits: string[] = [];
  for (let codePoint = 0; codePoint <= LAST_CODE_POINT; codePoint++) {
    const character = String.fromCodePoint(codePoint);
    if (/\p{Nd}/u.test(character)) digits.push(character);
  }
  return Array.from({ length: digits.length / 10 }, (_, script) => digits.slice(script * 10, script * 10 + 10));
}

test('a card number is known in the digits of every script, alone, grouped, and mixed with others', () => {
  const all = scripts();
  expect(all.length).toBeGreaterThan(60);
  const written = (digits: string[]) => [...NUMBER].map((digit) => digits[Number(digit)] ?? '');
  for (const digits of all) {
    const own = written(digits);
    const mixed = [...NUMBER].map((digit, index) => (index % 2 === 0 ? digit : (own[index] ?? '')));
    expect([own.join(''), holdsCardData(own.join(''), card)]).toEqual([own.join(''), true]);
    expect([own.join(' '), holdsCardData(own.join(' '), card)]).toEqual([own.join(' '), true]);
    expect([mixed.join(''), holdsCardData(mixed.join(''), card)]).toEqual([mixed.join(''), true]);
  }
});

describe('numbers that are references raise no alarm', () => {
  test('a hundred thousand in a row, beside the card number that comes next', () => {
    const first = 4_242_424_242_400_000n;
    const alarms = Array.from({ length: 100_000 }, (_, n) => first + BigInt(n)).filter((reference) =>
      holdsCardData(`order ${reference}`, { type: 'card', number: String(reference + 1n) }),
    );
    expect(alarms).toEqual([]);
  });

  test.each([
    '',
    '42',
    '424242424242424',
    '2026-11-25T03:14:05.424Z',
    '٤٢٤٢٤٢',
    'ord_019a0000-4242-7242-8242-424242424242',
  ])('%j', (text) => expect(holdsCardData(text, card)).toBe(false));
});

describe('words that hold what looks like a card number:', () => {
  test.each([
    NUMBER,
    '4242 4242 4242 4242',
    '3782-822463-10005',
    '4242.4242.4242.4242',
    '12 4242 4242 4242 4242 10.50',
    '٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢',
    `(${NUMBER})`,
  ])('%j: yes', (text) => expect(looksLikeCardNumber(`card ${text}, disputed`)).toBe(true));

  test.each([
    '4242424242424241', // fails the check
    '532914004242', // a retrieval reference number
    '74537604221222132710572', // an acquirer's reference number
    '1764040000000', // milliseconds
    '+49 151 12345678',
    'DE89370400440532013000',
    'ord_01a20e93-4242-7006-8424-2b51cf49044b',
  ])('%j: no', (text) => expect(looksLikeCardNumber(`see ${text}, please`)).toBe(false));
});
