// A start is a list of steps. Each has a limit, says what it does, is never silent for long, and when it fails shows the
// last lines of the log concerned and one piece of advice.
import { CannotRun } from './cannot-run.ts';
import { readIfThere } from './run-file.ts';

export interface Step {
  readonly what: string;
  readonly limitMs: number;
  /** Whose last lines explain a failure. */
  readonly logFile?: string;
  readonly advice: string;
}

export class StepFailed extends CannotRun {
  constructor(step: Step, reason: string) {
    const tail = step.logFile === undefined ? '' : lastLines(step.logFile);
    super(
      [
        `${step.what}: ${reason}`,
        ...(tail === '' ? [] : [`Last lines of ${step.logFile}:`, tail]),
        `Advice: ${step.advice}`,
      ].join('\n'),
    );
  }
}

/** Somebody asked to stop while a step ran. */
export class StopAsked extends Error {}

const SILENCE_MS = 2_000;
const TAIL_LINES = 12;

export type RunStep = <T>(step: Step, work: () => Promise<T>) => Promise<T>;

/** `signal`: somebody asked to stop; the step that runs is given up with StopAsked. */
export function createSteps(say: (line: string) => void, signal?: AbortSignal): RunStep {
  return async (step, work) => {
    const started = performance.now();
    const seconds = () => ((performance.now() - started) / 1_000).toFixed(1);
    const heartbeat = setInterval(() => say(`  … ${step.what}, ${seconds()} s so far`), SILENCE_MS);
    let limit: NodeJS.Timeout | undefined;
    const giveUp = new AbortController();
    const late = new Promise<never>((_, reject) => {
      if (signal?.aborted === true) reject(new StopAsked());
      signal?.addEventListener('abort', () => reject(new StopAsked()), { signal: giveUp.signal });
      limit = setTimeout(() => reject(new Error(`not done after ${step.limitMs / 1_000} s`)), step.limitMs);
    });
    try {
      const value = await Promise.race([work(), late]);
      say(`✓ ${step.what} (${seconds()} s)`);
      return value;
    } catch (error) {
      if (error instanceof StopAsked) throw error;
      throw new StepFailed(step, error instanceof Error ? error.message : String(error));
    } finally {
      clearInterval(heartbeat);
      clearTimeout(limit);
      giveUp.abort();
    }
  };
}

function lastLines(file: string, lines = TAIL_LINES): string {
  return (readIfThere(file) ?? '').trimEnd().split('\n').slice(-lines).join('\n');
}
