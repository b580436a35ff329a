// The scenarios: what happens to the process while its payments are under way. Each is told when to act by what the armed
// steps report, then everything is left to settle.
import type { Scene } from './scene.ts';
import type { Till } from './tills.ts';

export interface Scenario {
  readonly name: string;
  /** The process lives through it: also what only a listener can mend is met. */
  readonly lives: boolean;
  readonly bankLatencyMs?: number;
  /** PostgreSQL is killed: the scenario needs a server of its own. */
  readonly ownPostgres?: true;
  run(scene: Scene, tills: readonly Till[], world: ScenarioWorld): Promise<void>;
}

export interface ScenarioWorld {
  /** What the order database says. */
  query<Row>(sql: string): Promise<Row[]>;
  settled(): Promise<void>;
  /** Kills PostgreSQL and starts it again. */
  killPostgres(): Promise<void>;
  /** A violation that the scenario itself saw. */
  violation(text: string): void;
}

/** Steps of a payment itself, in their order. */
const paymentSteps = [
  'before commit 1',
  'after commit 1',
  'before the charge is sent',
  "after the next attempt's commit",
  'before commit 2',
  'after commit 2',
];
const voidSteps = ['before the void', 'after the void', 'after the number was held'];
const resolverSteps = ['lease taken', 'bank has answered the resolver', 'resolver has learnt'];
const ON_ITS_WAY = 'the request is on its way';
/** Banks act after half of it and answer after all of it. */
const SLOW_BANK_MS = 600;
/** Nothing new came to an armed step for this long: whoever would come has come. */
const QUIET_MS = 900;
const LONGEST_WAIT_MS = 15_000;
/** The terminals' deadline and the grace of patches.ts. */
const APPROVE_UNTIL_MS = 3_500;

export const scenarios: readonly Scenario[] = [
  { name: 'nothing dies', lives: true, run: nothingDies },
  ...paymentSteps.map((step) => ({ name: `killed: ${step}`, lives: false, run: killedAt(step, payAll) })),
  { name: 'killed: request on its way', lives: false, bankLatencyMs: SLOW_BANK_MS, run: killedWhileWaiting(0.2) },
  { name: 'killed: answer on its way', lives: false, bankLatencyMs: SLOW_BANK_MS, run: killedWhileWaiting(0.75) },
  ...resolverSteps.map((step) => ({ name: `killed: ${step}`, lives: false, run: killedAt(step, payAll) })),
  ...voidSteps.map((step) => ({ name: `killed: ${step}`, lives: false, run: killedAt(step, voidAll) })),
  { name: 'killed: away past approve_until', lives: false, run: awayPastApproveUntil },
  { name: 'killed: during recovery', lives: false, run: killedDuringRecovery },
  { name: 'frozen: after commit 1', lives: true, run: frozenAt('after commit 1') },
  { name: 'frozen: before the charge is sent', lives: true, run: frozenAt('before the charge is sent') },
  { name: 'frozen: before commit 2', lives: true, run: frozenAt('before commit 2') },
  { name: 'a stale epoch comes back', lives: true, run: staleEpoch },
  { name: 'PostgreSQL is killed', lives: false, ownPostgres: true, run: postgresKilled },
];

/** The few that `npm test` runs. */
export const shortSelection = ['killed: answer on its way', 'frozen: before the charge is sent'];

function payAll(_scene: Scene, tills: readonly Till[]): Promise<unknown> {
  return Promise.all(tills.map((till) => till.pay()));
}

/** A third of the voids come before their payment, a third beside it, a third after it. */
function voidAll(_scene: Scene, tills: readonly Till[]): Promise<unknown> {
  return Promise.all(
    tills.map(async (till, index) => {
      if (till.habit !== 'voids') return till.pay();
      if (index % 3 === 0) await till.void();
      const paying = till.pay();
      if (index % 3 === 1) await Promise.all([paying, voidBeside(till)]);
      else if ((await paying) !== null) await till.void();
      return paying;
    }),
  );
}

/** As soon as the payment is there: it is processing then wherever the bank is slow or silent. */
async function voidBeside(till: Till): Promise<void> {
  const limit = performance.now() + LONGEST_WAIT_MS;
  while ((await till.look())?.status === 404 && performance.now() < limit) await pause(20);
  await till.void();
}

async function nothingDies(scene: Scene, tills: readonly Till[]): Promise<void> {
  await voidAll(scene, tills);
  await scene.heal();
  await insistAll(tills);
}

function killedAt(step: string, begin: (scene: Scene, tills: readonly Till[]) => Promise<unknown>): Scenario['run'] {
  return async (scene, tills, world) => {
    scene.arm(step);
    const ended = begin(scene, tills);
    await reached(scene, step, world);
    await scene.restart();
    await ended; // the connections were cut
    await scene.heal();
    await insistAll(tills);
  };
}

/** `share` of the banks' latency after the first request left: before they act, or after. */
function killedWhileWaiting(share: number): Scenario['run'] {
  return async (scene, tills, world) => {
    scene.arm(ON_ITS_WAY);
    const ended = payAll(scene, tills);
    await until(() => scene.count(ON_ITS_WAY) > 0, LONGEST_WAIT_MS);
    if (scene.count(ON_ITS_WAY) === 0) world.violation('no request was on its way');
    await pause(SLOW_BANK_MS * share);
    await scene.restart();
    await ended;
    await scene.heal();
    await insistAll(tills);
  };
}

/** The banks have it all; whoever asks first does so when nobody may be told "approved" any more. */
async function awayPastApproveUntil(scene: Scene, tills: readonly Till[], world: ScenarioWorld): Promise<void> {
  scene.arm('before commit 2');
  const ended = payAll(scene, tills);
  await reached(scene, 'before commit 2', world);
  await scene.kill();
  await ended;
  await pause(APPROVE_UNTIL_MS);
  await scene.restart();
  await scene.heal();
  await insistAll(tills);
}

/** Killed once with everything in doubt, and again with everything under the resolver's leases. */
async function killedDuringRecovery(scene: Scene, tills: readonly Till[], world: ScenarioWorld): Promise<void> {
  await killedAt('before commit 2', payAll)(scene, [...tills], world);
  scene.arm('bank has answered the resolver');
  await until(() => scene.count('bank has answered the resolver') > 0, LONGEST_WAIT_MS);
  await scene.restart();
  await insistAll(tills);
}

/** Stopped at the step until everything was resolved without it; then it goes on as if nothing had been. */
function frozenAt(step: string): Scenario['run'] {
  return async (scene, tills, world) => {
    scene.arm(step);
    await payAll(scene, tills);
    await scene.heal();
    if (scene.count(step) === 0) world.violation(`nothing came to "${step}"`);
    await world.settled();
    scene.release(step);
    await pause(QUIET_MS);
    await insistAll(tills);
  };
}

/**
 * A batch that left late arrives while a resolver holds the leases under newer epochs: nothing of it may take effect. What a
 * bank has said clearly is learnt without a lease, and late answers are: that raises the epoch.
 */
async function staleEpoch(scene: Scene, tills: readonly Till[], world: ScenarioWorld): Promise<void> {
  await tills[0]?.pay(); // the first payment of a process is slow, and this scenario is in a hurry
  scene.arm('before commit 2');
  const ended = payAll(scene, tills);
  await until(() => scene.count('before commit 2') > tills.length / 3, LONGEST_WAIT_MS);
  scene.arm('before a batch is sent', 'lease taken');
  scene.release('before commit 2');
  await ended;
  await scene.heal();
  await reached(scene, 'before a batch is sent', world);
  await reached(scene, 'lease taken', world);
  const leased = () =>
    world.query<{ order_id: string; lease_epoch: number; version: number }>(
      'select order_id, lease_epoch, version from orders where lease_epoch > 1',
    );
  const before = await leased();
  scene.release('before a batch is sent');
  await pause(QUIET_MS);
  const after = new Map((await leased()).map((order) => [order.order_id, order]));
  if (before.length === 0) world.violation('no lease was taken');
  for (const { order_id, lease_epoch, version } of before) {
    const now = after.get(order_id);
    if (now?.lease_epoch === lease_epoch && now.version !== version)
      world.violation(`order ${order_id} moved by an epoch that was not its last`);
  }
  scene.release('lease taken');
  await insistAll(tills);
}

/** The database dies the moment the answers are out: each acknowledged one must be there afterwards. */
async function postgresKilled(scene: Scene, tills: readonly Till[], world: ScenarioWorld): Promise<void> {
  const ended = payAll(scene, tills);
  await until(() => false, 400); // the quick banks have answered by now
  await world.killPostgres();
  await ended;
  await scene.restart();
  await scene.heal();
  await insistAll(tills.filter(({ habit }) => habit !== 'silent'));
}

function insistAll(tills: readonly Till[]): Promise<unknown> {
  return Promise.all(tills.map((till) => till.insist()));
}

/** Until whoever would come to the step has come. */
async function reached(scene: Scene, step: string, world: ScenarioWorld): Promise<void> {
  const limit = performance.now() + LONGEST_WAIT_MS;
  let seen = 0;
  let since = performance.now();
  while (performance.now() < limit && (seen === 0 || performance.now() - since < QUIET_MS)) {
    const count = scene.count(step);
    if (count !== seen) since = performance.now();
    seen = count;
    await pause(20);
  }
  if (seen === 0) world.violation(`nothing came to "${step}"`);
}

async function until(condition: () => boolean, limitMs: number): Promise<void> {
  const limit = performance.now() + limitMs;
  while (!condition() && performance.now() < limit) await pause(10);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
