// Text from outside.
import { z } from 'zod';
import { looksLikeCardNumber } from './card-data.ts';

/** Text that PostgreSQL can store and a screen can show: no NUL, no other control characters, no lone surrogates. */
export const textSchema = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => value.isWellFormed(), 'must be well-formed Unicode')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
    .refine((value) => !/[\u0000-\u001f\u007f]/.test(value), 'must not contain control characters');

/** A person's own words (a name, a reason): kept in plain for good, so without what looks like a card number. */
export const wordsSchema = (max: number) =>
  textSchema(max).refine((value) => !looksLikeCardNumber(value), 'must not contain what looks like a card number');
