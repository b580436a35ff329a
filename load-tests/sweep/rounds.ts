// What the sweep does many times over: two of our verbs racing on one order, and a connection cut at every byte.
import { races, runRace } from '../../services/collection/test/support/races.ts';
import { runSocketCuts } from '../../services/collection/test/support/socket-cuts.ts';
import type { SweepServer } from './sweep.ts';

export interface Rounds {
  readonly name: string;
  readonly rounds: number;
  readonly wrong: readonly string[];
  /** How often it went which way. */
  readonly ways: Readonly<Record<string, number>>;
}

export async function runRounds(server: SweepServer, rounds: number, told: (done: Rounds) => void): Promise<Rounds[]> {
  server.serveTests();
  const done: Rounds[] = [];
  const tell = (one: Rounds) => {
    done.push(one);
    told(one);
  };
  for (const name of Object.keys(races) as (keyof typeof races)[]) tell({ name, ...(await runRace(name, rounds)) });
  const { cuts, ended, wrong } = await runSocketCuts(1);
  tell({ name: 'connection cut at every byte of request and answer', rounds: cuts, wrong, ways: ended });
  return done;
}
