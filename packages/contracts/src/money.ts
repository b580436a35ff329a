// Money: integer minor units. JSON carries an integer, the code a bigint; no float is ever near it.
import { z } from 'zod';

/** ISO 4217 codes we know, with the number of decimal digits of their minor unit. */
export const currencyDigits = {
  AED: 2,
  AUD: 2,
  BHD: 3,
  CAD: 2,
  CHF: 2,
  CNY: 2,
  CZK: 2,
  DKK: 2,
  EUR: 2,
  GBP: 2,
  HKD: 2,
  HUF: 2,
  INR: 2,
  JPY: 0,
  KRW: 0,
  KWD: 3,
  MXN: 2,
  NOK: 2,
  NZD: 2,
  PLN: 2,
  SEK: 2,
  SGD: 2,
  THB: 2,
  TND: 3,
  USD: 2,
  ZAR: 2,
} as const;

export type Currency = keyof typeof currencyDigits;

/** Largest amount of one payment, in minor units: far above any sale, far below 2^53, so JSON numbers stay exact. */
export const MAX_AMOUNT = 999_999_999_999n;

export const currencySchema = z.enum(Object.keys(currencyDigits) as [Currency, ...Currency[]]);

/** A positive amount in minor units; parses a JSON integer to a bigint. */
export const amountSchema = z
  .int('must be an integer number of minor units')
  .min(1, 'must be at least 1')
  .max(Number(MAX_AMOUNT), `must be at most ${MAX_AMOUNT}`)
  .transform((value) => BigInt(value))
  .meta({ description: 'Integer minor units of the currency (1250 EUR is 12.50).', examples: [1250] });

/** An amount on its way out: JSON integer. Exact, because every amount is at most MAX_AMOUNT. */
export function amountToJson(amount: bigint): number {
  return Number(amount);
}
