// An operator's hand on a channel's switch, with two instances of collection: the same steps as `npm run bench -- flip`, in
// short.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Instances, openInstances } from '../../load-tests/bench/collections.ts';
import {
  endsByItself,
  type FlipScene,
  flipUnderLoad,
  GRACE_MS,
  oppositeFlips,
  passesWhileShut,
  survivesTheDeathOfAll,
} from '../../load-tests/bench/flip-steps.ts';
import { routeAllTo } from '../../load-tests/bench/scene.ts';
import { isApproved, isShut, openCounter, openSwitch } from '../../load-tests/bench/switch.ts';
import { readCredentials } from '../../scripts/system/run-file.ts';
import { systemOfTheseTests } from './support/system.ts';

const BANK = 'bank_a';
const FLIPPING_MS = 5_000;
const ALL = ['collection-1', 'collection-2'];

const under = systemOfTheseTests('switches', { services: ['bank-simulator', 'collection'] });
let instances: Instances;
let scene: FlipScene;

beforeAll(async () => {
  const { system } = under;
  for (const merchant of readCredentials(system.runFile).merchants) await routeAllTo(system.runFile, merchant, BANK);
  instances = await openInstances(system, ALL.length);
  const gate = openSwitch(system.runFile, BANK);
  scene = { system, instances: instances.all, gate, counter: openCounter(system.runFile), bank: BANK };
});
afterAll(async () => {
  await scene?.gate.close();
  await instances?.stop();
});

test('a flip under load moves every instance; no charge leaves a second after it is acknowledged', async () => {
  const load = sellEverywhere();
  const { laggards, stragglersMs } = await flipUnderLoad(scene, FLIPPING_MS);
  const told = await load.stop();
  expect(laggards).toEqual([]);
  expect(stragglersMs.filter((ms) => ms !== null && ms > GRACE_MS)).toEqual([]);
  for (const { name, approved, shut } of told) expect([name, approved > 0, shut > 0]).toEqual([name, true, true]);
});

test('while it is shut, doubt is resolved and a void reversed', async () => {
  expect(await passesWhileShut(scene)).toEqual({
    inquiries: expect.toSatisfy((count: number) => count > 0),
    reversals: expect.toSatisfy((count: number) => count > 0),
    charges: 0,
  });
});

test('of opposite flips at once one wins, one meets a conflict, and both are audited', async () => {
  for (let round = 0; round < 3; round++)
    expect(await oppositeFlips(scene)).toEqual({ won: 1, conflicts: 1, audited: ['applied', 'conflict'] });
});

test("an override ends by itself, by the database's clock", async () => {
  const { firstChargeMs } = await endsByItself(scene);
  expect(firstChargeMs).toBeGreaterThanOrEqual(0);
});

test('it holds through kill -9 of everything, and while the control database stays dead', {
  timeout: 90_000,
}, async () => {
  const all = ALL.length;
  expect(await survivesTheDeathOfAll(scene)).toEqual({ shutAfterRestart: all, charges: 0, openInTheEnd: all });
});

/** One terminal's payments at each instance, one after the other; counts what it was told. */
function sellEverywhere() {
  let selling = true;
  const tellers = scene.instances.map(async (instance) => {
    const told = { name: instance.name, approved: 0, shut: 0 };
    while (selling) {
      const reply = await scene.counter.sell(instance);
      if (isApproved(reply)) told.approved++;
      if (isShut(reply)) told.shut++;
    }
    return told;
  });
  return {
    stop: () => {
      selling = false;
      return Promise.all(tellers);
    },
  };
}
