// What is made of a bank's words, and what is kept of them.
import { describe, expect, test } from 'vitest';
import { readCharge } from '../src/answers.ts';

const asked = {
  bankReference: '0'.repeat(28),
  merchantNumber: 'M1',
  terminalNumber: 'T1',
  amount: 1_000n,
  currency: 'EUR',
  livemode: false,
};
const approved = {
  result: 'approved',
  reference: asked.bankReference,
  amount: 1_000,
  currency: 'EUR',
  merchant_number: 'M1',
  terminal_number: 'T1',
  response_code: '00',
  rrn: '123456789012',
  authorization_code: '123456',
};
const secrets = ['4242424242424242=30121010000000000000', '4242424242424242', '0412AC89ABCDEF67', '123'];
const read = (body: unknown, status = 200) =>
  readCharge(
    asked,
    { kind: 'response', status, text: typeof body === 'string' ? body : JSON.stringify(body) },
    '{}',
    secrets,
  ).outcome;

test('a clear answer that fits is the outcome', () => {
  expect(read(approved)).toMatchObject({ kind: 'approved', rrn: '123456789012', authorizationCode: '123456' });
});

describe('a code that could not be kept is not an answer:', () => {
  test.each([
    ['NUL in the RRN', { rrn: '12345\u00006789' }],
    ['a card number for an RRN', { rrn: '4242424242424242' }],
    ['a line break in the authorization code', { authorization_code: '12\r\n34' }],
    ['markup in the response code', { response_code: '<b>' }],
    ['a sentence in the decline code', { result: 'declined', decline_code: 'card 4242424242424242 is blocked' }],
    ['an empty RRN', { rrn: '' }],
    ['a lone surrogate', { rrn: '\ud800' }],
  ])('%s', (_name, change) => {
    expect(read({ ...approved, ...change })).toMatchObject({ kind: 'in_doubt', reason: 'answer_not_understood' });
  });
});

describe('evidence never holds', () => {
  const kept = (text: string) => {
    const outcome = read(text, 500);
    return outcome.kind === 'in_doubt' ? (outcome.evidence?.response ?? '') : 'BUG';
  };

  test.each([
    ['the card number', '{"number":"4242424242424242"}', /4242/],
    ['the card number, grown together with its neighbours', 'PAN4242424242424242D3012', /4242/],
    ['a card number in groups', 'card 5555 5555 5555 4444 refused', /5555/],
    ['a card number of 12 digits', 'card 501800000009 refused', /5018/],
    ['the security code', '{"cvv":"123"} and cvv=123.', /123/],
    ['the PIN block', '{"pin_block":"0412AC89ABCDEF67"}', /AC89/],
    ['the track', 'track2=4242424242424242=30121010000000000000;', /4242|3012/],
    ['half a card number at its end', `${'x'.repeat(992)} 4242424242424242`, /42/],
    ['NUL', 'a\u0000b', /a[^b]b/],
  ])('%s', (_name, text, forbidden) => {
    expect(kept(text)).not.toMatch(forbidden);
  });

  test('but the rest of what the bank said', () => {
    expect(kept('{"error":"limit of 1234 reached","number":"4242424242424242"}')).toBe(
      '{"error":"limit of 1234 reached","number":"[removed]"}',
    );
    expect(kept('case X123 of 1234')).toBe('case X123 of 1234'); // not the security code
    expect(kept('x'.repeat(5_000))).toHaveLength(1_000);
  });
});
