// What an operator's switch promises, a step each: it moves every instance within a second, never stops inquiries and
// reversals, survives the death of everything, ends by the database's clock, and of two hands at once it obeys one.
// The benchmark takes all of them at length, test/e2e/switches.test.ts in short.
import { setTimeout as pause } from 'node:timers/promises';
import { VersionConflict } from '@ballast/control';
import type { System } from '../../scripts/system/start-system.ts';
import type { Instance } from './collections.ts';
import { heal, makeIll, receivedBy } from './scene.ts';
import {
  bookedBy,
  type Counter,
  type Flip,
  isApproved,
  isShut,
  lastChargeAfter,
  openSwitch,
  type Switch,
} from './switch.ts';

export interface FlipScene {
  readonly system: System;
  readonly instances: readonly Instance[];
  readonly gate: Switch;
  readonly counter: Counter;
  /** All payments go there. */
  readonly bank: string;
}

/** What was sent before an instance heard of the flip may still be booked: this long the bank's word is not against us. */
export const GRACE_MS = 1_000;
/** Longer than the grace, or nothing could be later than it. */
const HOLD_MS = GRACE_MS + 500;
const REST_MS = 400;
const LOOK_MS = 50;

export interface Flipped {
  readonly tookMs: readonly number[];
  /** Names in an acknowledgement of those that had not applied it. */
  readonly laggards: readonly string[];
  /** Per holding: ms from the acknowledgement to the bank's last charge; null: none came. */
  readonly stragglersMs: readonly (number | null)[];
}

/** Shuts the channel and opens it again, for `forMs`, whatever load there is. */
export async function flipUnderLoad(scene: FlipScene, forMs: number): Promise<Flipped> {
  const { gate, system, bank } = scene;
  const until = performance.now() + forMs;
  const flips: Flip[] = [];
  const holdings: { from: number; to: number }[] = [];
  while (performance.now() < until) {
    const shut = await gate.set('shut', 'flipped under load');
    await pause(HOLD_MS);
    const to = Date.now();
    const opened = await gate.end(shut, 'flipped under load');
    holdings.push({ from: shut.acknowledgedAt, to });
    flips.push(shut, opened);
    await pause(REST_MS);
  }
  const books = bookedBy(system.runFile, bank);
  return {
    tookMs: flips.map(({ tookMs }) => tookMs),
    laggards: flips.flatMap(({ outcome }) => outcome.lagging.map(({ name }) => name)),
    stragglersMs: holdings.map(({ from, to }) => lastChargeAfter(books, from, to)),
  };
}

export interface Passed {
  readonly inquiries: number;
  readonly reversals: number;
  readonly charges: number;
}

/** With the channel shut, an order in doubt is resolved and a void reversed; what reached the bank for that. */
export async function passesWhileShut({ system, gate, counter, instances, bank }: FlipScene): Promise<Passed> {
  const run = system.runFile;
  const [instance] = instances;
  if (instance === undefined) throw new Error('BUG: there is an instance');
  const sold = await untilApproved(counter, instance);
  // Nobody may learn of the doubtful charge before the channel is shut.
  await makeIll(
    run,
    bank,
    { behaviour: 'error_after_accepting', operation: 'charge', times: 1 },
    { behaviour: 'server_error', operation: 'inquiry' },
  );
  const doubtful = await counter.sell(instance);
  if (doubtful?.status !== 202) throw new Error(`expected doubt, was told ${doubtful?.status} ${doubtful?.text}`);
  const shut = await gate.set('shut', 'inquiries and reversals pass');
  await pause(GRACE_MS);
  const before = await receivedBy(run, bank);
  await heal(run, bank);
  await counter.cancel(instance, sold);
  const status = async (id: unknown) => (await counter.look(instance, String(id))).json['status'];
  await until('the doubt is resolved', async () => (await status(doubtful.json['id'])) === 'approved');
  await until('the void is reversed', async () => (await status(sold.json['id'])) === 'reversed');
  if (!isShut(await counter.sell(instance))) throw new Error('the channel was not shut all the while');
  const after = await receivedBy(run, bank);
  await gate.end(shut, 'inquiries and reversals passed');
  return {
    inquiries: after.inquiry - before.inquiry,
    reversals: after.reversal - before.reversal,
    charges: after.charge - before.charge,
  };
}

export interface Ended {
  /** ms from the end, by the database's clock, to the bank's first charge; negative: it came too early. */
  readonly firstChargeMs: number;
  /** ms from the end to when every instance had taken a payment. */
  readonly everyInstanceMs: number;
}

/** Nobody ends it: the database's clock does. */
export async function endsByItself({ system, gate, counter, instances, bank }: FlipScene): Promise<Ended> {
  const shut = await gate.set('shut', 'ends by itself', { lastsMs: 3_000 });
  const endsAt = await gate.endsAt(shut);
  await Promise.all(instances.map((instance) => untilApproved(counter, instance)));
  const everyInstanceMs = Date.now() - endsAt;
  const charges = bookedBy(system.runFile, bank).filter(({ kind }) => kind === 'charge');
  const later = charges.map(({ at }) => Date.parse(at)).filter((at) => at > shut.acknowledgedAt + GRACE_MS);
  return { firstChargeMs: Math.min(...later) - endsAt, everyInstanceMs };
}

export interface Survived {
  /** Instances that came back, without a control database, and refused as told before they died. */
  readonly shutAfterRestart: number;
  readonly charges: number;
  /** Instances that took payments again when the override was ended at last. */
  readonly openInTheEnd: number;
}

/** kill -9 of every instance, the banks and both PostgreSQL servers; only what payments need comes back at first. */
export async function survivesTheDeathOfAll(scene: FlipScene): Promise<Survived> {
  const { system, gate, counter, instances, bank } = scene;
  const shut = await gate.set('shut', 'outlives everything');
  await Promise.all([
    ...instances.map((instance) => instance.kill()),
    ...(['bank-simulator', 'postgres-orders', 'postgres-main'] as const).map((part) => system.kill(part, 'SIGKILL')),
  ]);
  await system.restart('postgres-orders');
  await Promise.all([system.restart('bank-simulator'), ...instances.map((instance) => instance.start())]);
  const replies = await Promise.all(instances.map((instance) => counter.sell(instance)));
  const charges = lastChargeAfter(bookedBy(system.runFile, bank), shut.acknowledgedAt + GRACE_MS, Date.now());

  await system.restart('postgres-main');
  const again = openSwitch(system.runFile, bank); // the other one's connections died with the server
  try {
    await until('every instance follows again', async () => {
      const heard = (await again.store.instances()).filter(({ silentMs }) => silentMs < 2_000);
      return new Set(heard.map(({ name }) => name)).size === instances.length;
    });
    await again.end(shut, 'outlived everything');
  } finally {
    await again.close();
  }
  const sold = await Promise.all(instances.map((instance) => untilApproved(counter, instance)));
  return {
    shutAfterRestart: replies.filter(isShut).length,
    charges: charges === null ? 0 : 1,
    openInTheEnd: sold.length,
  };
}

export interface Contest {
  readonly won: number;
  readonly conflicts: number;
  /** Outcomes in the audit: of these two tries, and of nothing else. */
  readonly audited: readonly string[];
}

/** Two operators who have seen the same version, at once, in opposite directions. */
export async function oppositeFlips({ system, gate, bank }: FlipScene): Promise<Contest> {
  const other = openSwitch(system.runFile, bank);
  try {
    const version = await gate.seen();
    const tries = await Promise.allSettled([
      gate.set('shut', 'one hand', { version }),
      other.set('open', 'the other hand', { version }),
    ]);
    const entries = await gate.store.audit(`channel:${bank}`, 2);
    const winner = tries.find((one) => one.status === 'fulfilled');
    if (winner !== undefined) await gate.end(winner.value, 'the contest is over');
    const lost = tries.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
    return {
      won: tries.length - lost.length,
      conflicts: lost.filter((reason) => reason instanceof VersionConflict).length,
      audited: entries.map(({ outcome }) => String(outcome)).sort(),
    };
  } finally {
    await other.close();
  }
}

async function untilApproved(counter: Counter, instance: Instance) {
  return until(`${instance.name} takes a payment`, async () => {
    const reply = await counter.sell(instance);
    return isApproved(reply) ? reply : null;
  });
}

const PATIENCE_MS = 30_000;

async function until<T>(what: string, condition: () => Promise<T>): Promise<NonNullable<T>> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value !== false && value !== null && value !== undefined) return value;
    if (performance.now() > giveUpAt) throw new Error(`waited ${PATIENCE_MS / 1_000} s in vain: ${what}`);
    await pause(LOOK_MS);
  }
}
