// Looks for what is due and resolves it, each channel's inquiries and reversals in a line of their own: a bank that hangs,
// or that our own policy keeps closed, holds up only its own line. Several instances share the work; the lease decides.
import type { PaymentsCore } from '../payments/core.ts';
import { type Candidate, dueOrders, type Line, type Work } from '../payments/leases.sql.ts';
import { closeCasesOfSilence } from '../payments/persons.sql.ts';
import { resolveDoubt } from '../payments/resolve-doubt.ts';

const INTERVAL_MS = 500;
/** Taken up per line and look; a line that had as many is looked at again at once. */
const CANDIDATES = 64;
const CLOSE_CASES_MS = 60_000;
/** Between looks at what was leased by a clock that has gone back since: they cost as much as the others. */
const LOOK_BEYOND_MS = 10_000;
/** One statement's worth. */
const CASES = 500;
const works: readonly Work[] = ['inquire', 'reverse'];

interface LineState extends Line {
  busy: boolean;
  /** Monotonic ms: nothing of this line before. */
  notBefore: number;
}

/** One look over all lines, waiting for each: resolves to how many orders were taken up. For tests. */
export async function runOnce(payments: PaymentsCore): Promise<number> {
  const core = withOwnPool(payments);
  const lines = linesOf(core);
  const due = await dueOrders(core.knex, lines, CANDIDATES, true);
  await closeCases(core);
  await Promise.all(
    lines.map((line) =>
      workOff(
        core,
        line,
        due.filter((candidate) => isOf(line, candidate)),
      ),
    ),
  );
  return due.length;
}

/** Once a minute, what was listed because its bank could not be reached, and has moved since, is off the list. */
async function closeCases(core: PaymentsCore): Promise<void> {
  for (let closed = CASES; closed === CASES; ) closed = await closeCasesOfSilence(core.knex, CASES);
}

/** For ever, until closed; `close` waits for the calls under way. */
export function runResolver(payments: PaymentsCore): { close(): Promise<void> } {
  const core = withOwnPool(payments);
  const lines = linesOf(core);
  const running = new Set<Promise<void>>();
  let closeCasesAt = 0;
  let lookBeyondAt = 0;
  let closed = false;
  let wake: () => void = () => undefined;
  let woken = false;

  function start(line: LineState, due: readonly Candidate[]): void {
    line.busy = true;
    const work = workOff(core, line, due).finally(() => {
      line.busy = false;
      running.delete(work);
      if (due.length < CANDIDATES || line.notBefore > performance.now()) return;
      woken = true;
      wake();
    });
    running.add(work);
  }

  async function look(): Promise<void> {
    const now = performance.now();
    if (now >= closeCasesAt) {
      closeCasesAt = now + CLOSE_CASES_MS;
      await closeCases(core);
    }
    const free = lines.filter((line) => !line.busy && line.notBefore <= now);
    if (free.length === 0) return;
    const beyond = now >= lookBeyondAt;
    if (beyond) lookBeyondAt = now + LOOK_BEYOND_MS;
    const due = await dueOrders(core.knex, free, CANDIDATES, beyond);
    for (const line of free) {
      const own = due.filter((candidate) => isOf(line, candidate));
      if (own.length > 0) start(line, own);
    }
  }

  async function loop(): Promise<void> {
    while (!closed) {
      woken = false;
      await look().catch((error: unknown) =>
        core.logger.error({ err: error }, 'resolver: could not look for what is due'),
      );
      if (closed || woken) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, INTERVAL_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  const looping = loop();
  return {
    close: async () => {
      closed = true;
      wake();
      await looping;
      await Promise.all(running);
    },
  };
}

/** Terminals that ask in a storm may empty their own pool, never the resolver's: what it decides is what they ask for. */
function withOwnPool(core: PaymentsCore): PaymentsCore {
  return { ...core, knex: core.resolverKnex };
}

/** A few at a time, until all are looked at or our own policy lets no more through. */
async function workOff(core: PaymentsCore, line: LineState, due: readonly Candidate[]): Promise<void> {
  const waiting = due.values();
  let refused = false;
  const worker = async () => {
    for (const candidate of waiting) {
      if (refused) return;
      try {
        const resolution = await resolveDoubt(core, candidate);
        if (resolution.kind !== 'refused' || !resolution.wholeLine) continue;
        refused = true;
        line.notBefore = performance.now() + resolution.retryAfterMs;
      } catch (error) {
        core.logger.error({ order_id: candidate.order_id, err: error }, 'resolver: order left for its next lease');
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(core.resolving.atOnce, due.length) }, worker));
}

function linesOf(core: PaymentsCore): LineState[] {
  return [...core.channels.keys()].flatMap((channel) =>
    works.map((work) => ({ channel, work, busy: false, notBefore: 0 })),
  );
}

function isOf(line: Line, candidate: Line): boolean {
  return candidate.channel === line.channel && candidate.work === line.work;
}
