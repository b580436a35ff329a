// The benchmark's end of the generator process.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { FromGenerator, Plan, RunResult, ToGenerator } from './plan.ts';

export interface Generator {
  readonly pid: number;
  /** Makes and signs the requests; `go` then sends them. Resolves to the result; the history is written after that. */
  prepare(plan: Plan): Promise<{ go(): Promise<{ result: RunResult; written: Promise<void> }> }>;
  close(): void;
}

/** Beside the run itself: its requests are made and signed, its last answers come, what it saw is written. */
const LONGEST_STEP_MS = 120_000;

export function openGenerator(): Generator {
  const child = fork(fileURLToPath(new URL('generate.ts', import.meta.url)), {
    execArgv: ['--disable-warning=ExperimentalWarning', '--expose-gc'],
  });
  // One that is gone cannot be told; that it is gone is told by `answer`, which waits for its exit.
  const say = (message: ToGenerator) => child.send(message, () => undefined);
  return {
    pid: child.pid ?? 0,
    prepare: async (plan) => {
      say({ kind: 'prepare', plan });
      await answer(child, 'prepared');
      return {
        go: async () => {
          const ranMs = plan.warmupMs + plan.durationMs;
          const written = answer(child, 'written', ranMs).then(() => undefined);
          written.catch(() => undefined); // where the run itself fails nobody waits for it
          const done = answer(child, 'done', ranMs);
          say({ kind: 'go' });
          const { result } = await done;
          return { result, written };
        },
      };
    },
    close: () => {
      if (child.connected) child.disconnect();
    },
  };
}

function answer<K extends FromGenerator['kind']>(
  child: ChildProcess,
  kind: K,
  ranMs = 0,
): Promise<Extract<FromGenerator, { kind: K }>> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      clearTimeout(timer);
      child.off('message', onMessage);
      child.off('exit', onExit);
      settle();
    };
    const onMessage = (message: FromGenerator) => {
      if (message.kind === 'failed') end(() => reject(new Error(`the load generator failed: ${message.reason}`)));
      else if (message.kind === kind) end(() => resolve(message as Extract<FromGenerator, { kind: K }>));
    };
    const onExit = () => end(() => reject(new Error('the load generator died')));
    const timer = setTimeout(
      () => end(() => reject(new Error(`no "${kind}" from the load generator`))),
      ranMs + LONGEST_STEP_MS,
    );
    child.on('message', onMessage);
    child.on('exit', onExit);
  });
}
