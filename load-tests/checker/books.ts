// The banks' own books, as JSON lines on disk: the independent witness. A bank's name is its file's name.
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';

export interface BookEntry {
  readonly at: string;
  readonly kind: 'charge' | 'reversal' | 'refund';
  readonly reference: string;
  readonly result: string;
  readonly amount: number;
  readonly currency: string;
  readonly livemode: boolean;
  readonly original_reference?: string;
}

/** Everything one bank did under one reference of ours. */
export interface Booked {
  readonly bank: string;
  readonly reference: string;
  readonly charges: BookEntry[];
  readonly reversals: BookEntry[];
  /** Refunds of this charge, by their original reference. */
  readonly refunds: BookEntry[];
}

export interface Books {
  readonly entries: number;
  find(bank: string, reference: string): Booked | undefined;
  all(): Iterable<Booked>;
}

export async function readBooks(files: readonly string[]): Promise<Books> {
  const booked = new Map<string, Booked>();
  let entries = 0;
  for (const file of files) {
    const bank = basename(file, '.jsonl');
    for await (const entry of linesOf(file)) {
      entries++;
      const reference = entry.original_reference ?? entry.reference;
      const key = `${bank}/${reference}`;
      let found = booked.get(key);
      if (found === undefined) {
        found = { bank, reference, charges: [], reversals: [], refunds: [] };
        booked.set(key, found);
      }
      if (entry.kind === 'charge') found.charges.push(entry);
      else if (entry.kind === 'reversal') found.reversals.push(entry);
      else found.refunds.push(entry);
    }
  }
  return {
    entries,
    find: (bank, reference) => booked.get(`${bank}/${reference}`),
    all: () => booked.values(),
  };
}

/** The charge that the bank approved and has not given back, if there is one. */
export function standingCharge(booked: Booked | undefined): BookEntry | undefined {
  if (booked === undefined || booked.reversals.some((entry) => entry.result === 'reversed')) return undefined;
  return booked.charges.find((entry) => entry.result === 'approved');
}

export function approvedCharge(booked: Booked | undefined): BookEntry | undefined {
  return booked?.charges.find((entry) => entry.result === 'approved');
}

/** A torn last line is a bank that died while writing, before its reply: it never happened. Elsewhere it is an error. */
async function* linesOf(file: string): AsyncGenerator<BookEntry> {
  let torn: string | undefined;
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line === '') continue;
    if (torn !== undefined) throw new Error(`${file} holds a line that is not JSON: ${torn.slice(0, 80)}`);
    const entry = parsed(line);
    if (entry === undefined) torn = line;
    else yield entry;
  }
}

function parsed(line: string): BookEntry | undefined {
  try {
    return JSON.parse(line) as BookEntry;
  } catch {
    return undefined; // the caller decides whether it was the last line
  }
}
