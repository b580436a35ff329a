// The checker. It imports nothing from the services: it reads the databases, the banks' books, the clients' histories and
// the logs, and says which invariants (docs/invariants.md) hold. One that had nothing to look at has failed: "vacuous".
import type pg from 'pg';
import { auditIsWhole } from './audit.ts';
import {
  approvedByTheBank,
  everyAttemptEnds,
  everyChargeHasItsOrder,
  neverMoreThanCaptured,
  noDoubleCharge,
} from './banks.ts';
import { readBooks } from './books.ts';
import { readHistories } from './history.ts';
import type { CheckInput, Finding, Invariant, Result, World } from './invariant.ts';
import { eventsAreGapless, eventsGiveTheState } from './journal.ts';
import { leasesHold, readSightings } from './leases.ts';
import { nothingDiedOfABug, transactionsAreShort } from './logs.ts';
import { modesNeverMeet } from './modes.ts';
import { appliedOnce, readModelIsTheFold } from './read-model.ts';
import { openReader, openSnapshot, readStories } from './read-orders.ts';
import { nothingLeaks } from './secrets.ts';
import { effectsStand, noContradiction, oneOrderPerKey } from './told.ts';

export type { CheckInput, Result } from './invariant.ts';

export interface Checked {
  readonly results: readonly Result[];
  /** Left out, and why. */
  readonly skipped: readonly { readonly id: string; readonly why: string }[];
}

const VIOLATIONS_KEPT = 50;

/**
 * Evaluates every invariant that the input allows. May run while traffic flows (`quiet: false`): what was acknowledged is
 * in a snapshot taken after the histories were read, and what is in the snapshot is in books read after it, because a bank
 * writes its books before it replies.
 */
export async function check(input: CheckInput): Promise<Checked> {
  const history = await readHistories(input.histories);
  const sightings = await readSightings(input.leases ?? []);
  const client = await openReader(input.orders);
  const query = input.query === undefined ? null : await openReader(input.query);
  try {
    const { heldNumbers } = await openSnapshot(client);
    const books = await readBooks(input.books);
    const all = invariantsOf(heldNumbers, sightings);
    const skipped = all.flatMap((invariant) => {
      const why = reasonToSkip(invariant, input);
      return why === null ? [] : [{ id: invariant.id, why }];
    });
    const chosen = all.filter((invariant) => reasonToSkip(invariant, input) === null);
    const references = new Set<string>();
    return {
      results: await evaluate({ client, query }, chosen, { input, books, history, references }, references),
      skipped,
    };
  } finally {
    await client.end();
    await query?.end();
  }
}

/** All of them; docs/invariants.md lists them. */
export function invariantsOf(
  heldNumbers: ReadonlySet<string>,
  sightings: Awaited<ReturnType<typeof readSightings>>,
): Invariant[] {
  return [
    effectsStand(heldNumbers),
    oneOrderPerKey(),
    everyChargeHasItsOrder(),
    everyAttemptEnds(),
    leasesHold(sightings),
    noContradiction(),
    approvedByTheBank(),
    noDoubleCharge(),
    neverMoreThanCaptured(),
    eventsGiveTheState(),
    eventsAreGapless(),
    appliedOnce(),
    readModelIsTheFold(),
    transactionsAreShort(),
    modesNeverMeet(),
    nothingLeaks(),
    nothingDiedOfABug(),
    auditIsWhole(),
  ];
}

function reasonToSkip({ when, needs }: Invariant, input: CheckInput): string | null {
  if (when === 'quiet' && !input.quiet) return 'holds only after quiet';
  if (needs === undefined) return null;
  const given = input[needs];
  return given === undefined || given.length === 0 ? `no ${needs} given` : null;
}

async function evaluate(
  { client, query }: { client: pg.Client; query: pg.Client | null },
  invariants: readonly Invariant[],
  world: World,
  references: Set<string>,
): Promise<Result[]> {
  const judged = invariants.map((invariant) => ({ invariant, ...openFinding() }));
  for await (const story of readStories(client, query)) {
    for (const { channel, bank_reference } of story.attempts) references.add(`${channel}/${bank_reference}`);
    for (const { invariant, finding } of judged) invariant.each?.(story, world, finding);
  }
  const results: Result[] = [];
  for (const { invariant, finding, close } of judged) {
    await invariant.end?.(world, finding);
    results.push({ id: invariant.id, says: invariant.says, ...close() });
  }
  return results;
}

function openFinding(): { finding: Finding; close(): Pick<Result, 'evaluated' | 'violations'> } {
  let evaluated = 0;
  let more = 0;
  const violations: string[] = [];
  return {
    finding: {
      evaluated: (count = 1) => {
        evaluated += count;
      },
      violation: (text) => {
        if (violations.length < VIOLATIONS_KEPT) violations.push(text);
        else more++;
      },
    },
    close: () => {
      if (evaluated === 0) violations.push('vacuous: there was nothing to evaluate');
      if (more > 0) violations.push(`and ${more} more`);
      return { evaluated, violations };
    },
  };
}
