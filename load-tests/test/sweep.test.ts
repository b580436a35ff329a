// A few scenarios of the sweep, and one planted fault that must turn it red. All of it: `npm run sweep`.
import { readFileSync } from 'node:fs';
import { freshDatabase } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { plants, quickClock } from '../sweep/patches.ts';
import { runScenario, type ScenarioDatabase } from '../sweep/run-scenario.ts';
import { scenarios, shortSelection } from '../sweep/scenarios.ts';
import { scenariosNamed } from '../sweep/sweep.ts';

const LIMIT_MS = 180_000;

async function databaseFor(label: string): Promise<ScenarioDatabase> {
  const { url, drop } = await freshDatabase(label);
  return { url, drop, killServer: () => Promise.reject(new Error('BUG: the server belongs to all tests')) };
}

test.concurrent.each(shortSelection)(
  '%s: nothing is lost, doubled or contradicted',
  async (name) => {
    const [scenario] = scenariosNamed([name]);
    if (scenario === undefined) throw new Error('BUG: named and not found');
    const outcome = await runScenario(scenario, await databaseFor('sweep'));
    expect(outcome.violations).toEqual([]);
    expect(outcome.cases).toBeGreaterThan(100);
    expect(outcome.states).toContain('in_doubt/in_doubt');
  },
  LIMIT_MS,
);

test.concurrent(
  'a planted fault turns it red: the intent is committed after the send',
  async () => {
    const plant = plants.find(({ name }) => name === 'intent committed after the send');
    const [scenario] = scenariosNamed(plant?.scenarios ?? []);
    if (scenario === undefined) throw new Error('BUG: a fault without its scenario');
    const { violations } = await runScenario(scenario, await databaseFor('planted'), plant?.name);
    expect(violations.some((text) => text.startsWith('I-03'))).toBe(true);
  },
  LIMIT_MS,
);

test('each planted fault names scenarios that exist, and each scenario has a name of its own', () => {
  for (const plant of plants) expect(scenariosNamed(plant.scenarios)).toHaveLength(plant.scenarios.length);
  expect(new Set(scenarios.map(({ name }) => name)).size).toBe(scenarios.length);
});

test('what the sweep patches is still written so in the sources', () => {
  const missing = [...quickClock, ...plants.flatMap(({ patches }) => patches)].filter(
    ({ file, from }) => !readFileSync(file, 'utf8').includes(from),
  );
  expect(missing).toEqual([]);
});
