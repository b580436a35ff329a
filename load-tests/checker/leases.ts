// Leases and fencing: I-05. Epochs leave no trace in the journal, so they are watched while the run goes on.
import { createReadStream, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { approvedCharge, standingCharge } from './books.ts';
import type { Invariant } from './invariant.ts';
import { openReader } from './read-orders.ts';

/** Booking takes a bank this long at most unless the scenario says more. */
const LONGEST_BANK_DELAY_MS = 5_000;
const LOOK_MS = 200;

interface Sighting {
  readonly order_id: string;
  readonly lease_epoch: number;
  readonly version: number;
}

/** Writes down epoch and version of every open order, five times a second, until stopped. */
export async function observeLeases(url: string, file: string): Promise<{ stop(): Promise<void> }> {
  const client = await openReader(url);
  let stopped = false;
  writeFileSync(file, '', { flag: 'a' });
  const watch = async () => {
    while (!stopped) {
      const { rows } = await client.query<Sighting>(
        `select order_id, lease_epoch, version from orders where status in ('processing', 'in_doubt', 'reversing')`,
      );
      writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''), { flag: 'a' });
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  };
  const watching = watch();
  return {
    stop: async () => {
      stopped = true;
      await watching.finally(() => client.end());
    },
  };
}

/** Highest epoch and version seen of each order, and every step back among the sightings. */
export async function readSightings(files: readonly string[]) {
  const highest = new Map<string, { epoch: number; version: number }>();
  const steppedBack: string[] = [];
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file) })) {
      if (line === '') continue;
      const { order_id, lease_epoch, version } = JSON.parse(line) as Sighting;
      const before = highest.get(order_id);
      if (before !== undefined && (lease_epoch < before.epoch || version < before.version))
        steppedBack.push(
          `order ${order_id}: epoch ${before.epoch} → ${lease_epoch}, version ${before.version} → ${version}`,
        );
      highest.set(order_id, { epoch: lease_epoch, version });
    }
  }
  return { highest, steppedBack };
}

/** I-05: epochs never go back, and a charge that reached the bank after its sender's deadline does not stand. */
export function leasesHold(sightings: Awaited<ReturnType<typeof readSightings>>): Invariant {
  return {
    id: 'I-05',
    says: 'lease epochs never go back; a charge sent after its deadline ends reversed or with a person',
    when: 'always',
    each: ({ order, orderId, attempts }, { books, input }, finding) => {
      if (order !== null) {
        finding.evaluated();
        const seen = sightings.highest.get(orderId);
        if (order.lease_epoch < 1) finding.violation(`order ${orderId} has epoch ${order.lease_epoch}`);
        if (seen !== undefined && (order.lease_epoch < seen.epoch || order.version < seen.version))
          finding.violation(`order ${orderId}: epoch ${seen.epoch} was seen, stored is ${order.lease_epoch}`);
      }
      for (const attempt of attempts) {
        const booked = books.find(attempt.channel, attempt.bank_reference);
        const charge = approvedCharge(booked);
        if (charge === undefined) continue;
        finding.evaluated();
        const lateMs = Date.parse(charge.at) - attempt.last_send_ms;
        if (lateMs <= (input.longestBankDelayMs ?? LONGEST_BANK_DELAY_MS)) continue;
        const undone = standingCharge(booked) === undefined || attempt.with_person;
        const beingUndone = !input.quiet && ['sent', 'in_doubt', 'reversing'].includes(attempt.state);
        if (!undone && !beingUndone && attempt.state !== 'reversal_refused')
          finding.violation(
            `order ${orderId}: charged ${Math.round(lateMs)} ms after its deadline, and the charge stands`,
          );
      }
    },
    end: (_world, finding) => {
      for (const step of sightings.steppedBack) finding.violation(step);
    },
  };
}
