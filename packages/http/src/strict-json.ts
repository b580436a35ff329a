// JSON as strictly as money wants it. JSON.parse alone takes 500,000 nested levels, lets the last of two equal keys win,
// and reads 1e2 and 100.0 as the integer 100 (docs/facts.md). One pass over the text finds these before it is parsed.
import { isUtf8 } from 'node:buffer';
import { Problem } from '@ballast/contracts';

const MAX_DEPTH = 16;
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

/** Throws `malformed_body` (400) with a pointer to what is wrong. */
export function parseStrictJson(bytes: Buffer, integersOnly: boolean): unknown {
  if (!isUtf8(bytes)) throw malformed('', 'is not valid UTF-8');
  const text = bytes.toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // Deeply nested text overflows JSON.parse's own stack in some engines; either way it is not a body of ours.
    throw malformed('', 'is not valid JSON', error);
  }
  checkShape(text, integersOnly);
  return value;
}

interface Level {
  /** Keys seen so far; null inside an array. */
  readonly keys: Set<string> | null;
  /** Where this level is now: a key, or an index. */
  at: string | number;
}

/** The text is valid JSON already, so this only has to find its keys, levels and numbers. */
function checkShape(text: string, integersOnly: boolean): void {
  const levels: Level[] = [];
  let expectsKey = false;
  for (let i = 0; i < text.length; i++) {
    const level = levels[levels.length - 1];
    switch (text.charCodeAt(i)) {
      case 0x22: {
        const end = endOfString(text, i);
        if (expectsKey && level?.keys) takeKey(levels, level, stringOf(text, i, end));
        i = end;
        break;
      }
      case 0x3a: // :
        expectsKey = false;
        break;
      case 0x2c: // ,
        expectsKey = level?.keys != null;
        if (level !== undefined && typeof level.at === 'number') level.at++;
        break;
      case 0x7b: // {
        if (levels.push({ keys: new Set(), at: '' }) > MAX_DEPTH) throw tooDeep(levels);
        expectsKey = true;
        break;
      case 0x5b: // [
        if (levels.push({ keys: null, at: 0 }) > MAX_DEPTH) throw tooDeep(levels);
        expectsKey = false;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        levels.pop();
        expectsKey = false;
        break;
      case 0x2e: // .
      case 0x45: // E
      case 0x65: // e: in true, false and null it follows a letter, in a number a digit
        if (integersOnly && isDigit(text.charCodeAt(i - 1)))
          throw malformed(pointerOf(levels), 'must be an integer, without fraction or exponent');
        break;
      case 0x2d: // -
        if (integersOnly && text.charCodeAt(i + 1) === 0x30) throw malformed(pointerOf(levels), 'must not be -0');
        break;
      default:
    }
  }
}

function takeKey(levels: readonly Level[], level: Level, key: string): void {
  level.at = key;
  if (level.keys?.has(key)) throw malformed(pointerOf(levels), 'stands twice in the same object');
  if (FORBIDDEN_KEYS.has(key)) throw malformed(pointerOf(levels), 'is not a field');
  level.keys?.add(key);
}

/** Where the string that begins at `start` ends: the next quote with an even number of backslashes before it. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
}

function stringOf(text: string, start: number, end: number): string {
  const inside = text.slice(start + 1, end);
  return inside.includes('\\') ? (JSON.parse(`"${inside}"`) as string) : inside;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function tooDeep(levels: readonly Level[]): Problem {
  return malformed(pointerOf(levels.slice(0, -1)), `is nested deeper than ${MAX_DEPTH} levels`);
}

function pointerOf(levels: readonly Level[]): string {
  return levels.map(({ at }) => `/${String(at).replaceAll('~', '~0').replaceAll('/', '~1').slice(0, 64)}`).join('');
}

function malformed(pointer: string, detail: string, cause?: unknown): Problem {
  return new Problem('malformed_body', pointer === '' ? `The body ${detail}.` : `${pointer} ${detail}.`, {
    errors: [{ pointer, detail }],
    cause,
  });
}
