// bottleneck behind a port, for what is slow by contract. It does one thing well: jobs at least `minTime` apart. The line is
// ours (bounded, dropped by deadline, no job held per caller), and bottleneck has at most one job: the next turn.
import Bottleneck from 'bottleneck';
import { createLine } from './line.ts';
import { LEAST_FACTOR } from './meter.ts';

export interface Pacer {
  readonly waiting: number;
  /** False: no place in the line. The promise: true at the caller's turn, false when its deadline came first. */
  turn(deadline: number, now: number, factor: number): false | Promise<boolean>;
  hasRoom(): boolean;
  /** Turns away whoever waits. */
  close(): void;
}

/** A share of the cluster that moves by less than this does not change the pace. */
const SAME_PACE = 0.02;

interface Pace {
  readonly factor: number;
  readonly limiter: Bottleneck;
}

export function createPacer(perSecond: number, maxWaiting: number, clock: () => number): Pacer {
  const line = createLine();
  let pace = paceOf(1);
  let turnAsked = false;
  let lastTurn = Number.NEGATIVE_INFINITY;
  /** A new limiter knows nothing of the old one's last turn. */
  let notBefore = Number.NEGATIVE_INFINITY;

  function paceOf(factor: number): Pace {
    return { factor, limiter: new Bottleneck({ minTime: 1_000 / (perSecond * factor) }) };
  }

  /** bottleneck's `updateSettings()` loses turns (facts.md): another pace is another limiter. */
  function setPace(factor: number): void {
    if (Math.abs(factor / pace.factor - 1) < SAME_PACE) return;
    pace = paceOf(factor);
    notBefore = lastTurn + 1_000 / (perSecond * factor);
    turnAsked = false;
  }

  function askTurn(): void {
    if (turnAsked || line.length === 0) return;
    turnAsked = true;
    const asked = pace;
    const wait = notBefore - clock();
    if (wait > 0) setTimeout(() => schedule(asked), Math.ceil(wait));
    else schedule(asked);
  }

  function schedule(asked: Pace): void {
    void asked.limiter.schedule(async () => {
      if (asked !== pace) return;
      turnAsked = false;
      lastTurn = clock();
      line.admitNext();
      askTurn();
    });
  }

  return {
    get waiting() {
      return line.length;
    },
    hasRoom: () => line.length < maxWaiting,
    turn: (deadline, now, factor) => {
      if (factor < LEAST_FACTOR) return false;
      setPace(factor);
      const admitted = line.wait(deadline, now, maxWaiting);
      askTurn();
      return admitted;
    },
    close: line.clear,
  };
}
