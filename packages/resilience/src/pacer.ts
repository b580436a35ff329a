// bottleneck behind a port, for what is slow by contract. It does one thing well: jobs `minTime` apart. The line is ours
// (bounded, dropped by deadline), and a job of bottleneck's is only a turn, for whoever is first in the line by then.
import Bottleneck from 'bottleneck';
import { createLine } from './line.ts';
import { LEAST_FACTOR } from './meter.ts';

export interface Pacer {
  readonly waiting: number;
  /** Places in the line. */
  readonly left: number;
  /** False: no place in the line. The promise: true at the caller's turn, false when its deadline came first. */
  turn(deadline: number, now: number, factor: number): false | Promise<boolean>;
  hasRoom(): boolean;
  /** Turns away whoever waits. */
  close(): void;
}

/** A share of the cluster that moves by less than this does not change the pace. */
const SAME_PACE = 0.02;
/** bottleneck takes some 5 ms to take a job in (docs/facts.md): turns are asked for ahead, or 200/s would be 130. */
const TURNS_AHEAD = 8;

interface Pace {
  readonly factor: number;
  readonly limiter: Bottleneck;
  /** Turns that were asked for and have not come. */
  asked: number;
}

export function createPacer(perSecond: number, maxWaiting: number, clock: () => number): Pacer {
  const line = createLine();
  let pace = paceOf(1);
  let lastTurn = Number.NEGATIVE_INFINITY;
  /** A new limiter knows nothing of the old one's last turn. */
  let notBefore = Number.NEGATIVE_INFINITY;

  function paceOf(factor: number): Pace {
    return { factor, limiter: new Bottleneck({ minTime: 1_000 / (perSecond * factor) }), asked: 0 };
  }

  /** bottleneck's `updateSettings()` loses turns (docs/facts.md): another pace is another limiter. */
  function setPace(factor: number): void {
    if (Math.abs(factor / pace.factor - 1) < SAME_PACE) return;
    pace = paceOf(factor);
    notBefore = lastTurn + 1_000 / (perSecond * factor);
    const wait = notBefore - clock();
    if (wait > 0) setTimeout(askTurns, Math.ceil(wait));
  }

  function askTurns(): void {
    if (clock() < notBefore) return; // the timer of setPace asks
    const { length } = line;
    while (pace.asked < Math.min(TURNS_AHEAD, length)) askTurn(pace);
  }

  function askTurn(of: Pace): void {
    of.asked++;
    void of.limiter.schedule(async () => {
      of.asked--;
      if (of !== pace) return;
      lastTurn = clock();
      line.admitNext();
      askTurns();
    });
  }

  return {
    get waiting() {
      return line.length;
    },
    get left() {
      return Math.max(0, maxWaiting - line.length);
    },
    hasRoom: () => line.length < maxWaiting,
    turn: (deadline, now, factor) => {
      if (factor < LEAST_FACTOR) return false;
      setPace(factor);
      const admitted = line.wait(deadline, now, maxWaiting);
      askTurns();
      return admitted;
    },
    close: line.clear,
  };
}
