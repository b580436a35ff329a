// `npm run sweep`: level 2 of the tests of what it must survive. Every labelled step of a payment's life x every behaviour
// of a bank x every habit of a terminal; the process dies there, restarts, settles, and the checker judges. `--plant all`
// (or one fault's name) plants faults instead, each of which must turn it red.
import { plants } from '../load-tests/sweep/patches.ts';
import { type Rounds, runRounds } from '../load-tests/sweep/rounds.ts';
import type { Outcome } from '../load-tests/sweep/run-scenario.ts';
import { scenarios } from '../load-tests/sweep/scenarios.ts';
import { type SweepServer, startSweepServer, sweep, sweepPlanted, unreached } from '../load-tests/sweep/sweep.ts';
import { type ExitCode, exitCode, readOptions, runCommand, say, UsedWrongly } from './system/command.ts';

const usage = `Usage: npm run sweep [-- [--only TEXT] [--at-once N] [--rounds N] [--plant FAULT|all] [--list]]`;
const VIOLATIONS_SHOWN = 5;

await runCommand(async () => {
  const { values } = readOptions(
    {
      only: { type: 'string', default: '' },
      'at-once': { type: 'string', default: '3' },
      rounds: { type: 'string', default: '1000' },
      plant: { type: 'string' },
      list: { type: 'boolean' },
    },
    usage,
  );
  if (values.list === true) {
    for (const { name } of scenarios) say(`scenario  ${name}`);
    for (const { name } of plants) say(`fault     ${name}`);
    return exitCode.done;
  }
  const server = await startSweepServer();
  // Ctrl-C reaches the processes under test by itself; PostgreSQL stands apart and is stopped by us.
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => void server.stop(false).finally(() => process.exit(exitCode.couldNotRun)));
  let code: ExitCode = exitCode.couldNotRun;
  try {
    code =
      values.plant === undefined
        ? await sweepAll(values.only, Number(values['at-once']), Number(values.rounds), server)
        : await plantAndSweep(values.plant, server);
    return code;
  } finally {
    const keep = code !== exitCode.done && values.plant === undefined;
    if (keep) say(`the databases of what went wrong are kept in ${server.place}`);
    await server.stop(keep);
  }
});

async function sweepAll(only: string, atOnce: number, rounds: number, server: SweepServer) {
  const started = performance.now();
  const chosen = scenarios.filter(({ name }) => name.includes(only));
  if (chosen.length === 0 && only !== 'rounds') throw new UsedWrongly(`no scenario contains "${only}"; see --list`);
  const outcomes = await sweep(chosen, server, atOnce, print);
  const raced = only === '' || only === 'rounds' ? await runRounds(server, rounds, printRounds) : [];
  const cases =
    outcomes.reduce((sum, outcome) => sum + outcome.cases, 0) + raced.reduce((sum, one) => sum + one.rounds, 0);
  const violations = [...outcomes.map((one) => one.violations), ...raced.map((one) => one.wrong)].flat().length;
  const missing = only === '' ? unreached(outcomes) : [];
  say(`${cases} cases in ${outcomes.length} scenarios, ${violations} violations, ${seconds(started)} s`);
  say(`states reached: ${[...new Set(outcomes.flatMap(({ states }) => states))].sort().join(' ')}`);
  if (missing.length > 0) say(`never met: ${missing.join(' ')}`);
  // Rule of three: what zero failures in n independent trials say.
  if (violations === 0) say(`at most one violation in ${Math.floor(cases / 3)} such cases, at 95 %`);
  return violations === 0 && missing.length === 0 ? exitCode.done : exitCode.checkFailed;
}

async function plantAndSweep(name: string, server: SweepServer) {
  const chosen = plants.filter((plant) => name === 'all' || plant.name === name);
  if (chosen.length === 0) throw new UsedWrongly(`there is no fault "${name}"; see --list`);
  let unseen = 0;
  for (const plant of chosen) {
    const started = performance.now();
    const violations = await sweepPlanted(plant, server);
    say(
      `${violations.length > 0 ? 'red  ' : 'GREEN'}  ${plant.name}: ${violations.length} violations, ${seconds(started)} s`,
    );
    for (const violation of violations.slice(0, 2)) say(`         ${violation}`);
    if (violations.length === 0) unseen++;
  }
  say(`${chosen.length - unseen} of ${chosen.length} planted faults turned the sweep red`);
  return unseen === 0 ? exitCode.done : exitCode.checkFailed;
}

function print({ scenario, cases, violations, seconds: took }: Outcome): void {
  const verdict = violations.length === 0 ? 'ok ' : 'RED';
  say(`${verdict}  ${scenario}: ${cases} cases, ${violations.length} violations, ${took.toFixed(1)} s`);
  for (const violation of violations.slice(0, VIOLATIONS_SHOWN)) say(`       ${violation}`);
}

function printRounds({ name, rounds, wrong, ways }: Rounds): void {
  say(`${wrong.length === 0 ? 'ok ' : 'RED'}  ${name}: ${rounds} rounds, ${wrong.length} wrong`);
  for (const [way, count] of Object.entries(ways)) say(`       ${count} x ${way}`);
  for (const one of wrong.slice(0, VIOLATIONS_SHOWN)) say(`       ${one}`);
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1_000).toFixed(1);
}
