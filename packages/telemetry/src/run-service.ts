// The frame of every service process: starts, closes in reverse order on SIGTERM or SIGINT, and dies loudly: one log
// line that can be grepped, exit code 1. Nothing is swallowed, nothing limps on after a bug.
import { flushLog, type Logger } from './log.ts';

/** What a service has opened, closed last to first. */
export interface Closing {
  add<T extends { close(): unknown }>(opened: T): T;
  add<T>(opened: T, close: (opened: T) => unknown): T;
}

/** A close that hangs (a peer that does not answer) is cut short: the supervisor's own patience is usually 10 s. */
const CLOSE_LIMIT_MS = 5_000;

/** Resolves when `start` has; the process then lives until it is told to stop. */
export async function runService(logger: Logger, start: (closing: Closing) => Promise<void>): Promise<void> {
  const closers: (() => unknown)[] = [];
  const closing: Closing = {
    add: <T>(opened: T, close: (opened: T) => unknown = (it) => (it as { close(): unknown }).close()): T => {
      closers.push(() => close(opened));
      return opened;
    },
  };

  let stopping = false;
  async function stop(signal: string): Promise<void> {
    if (stopping) return;
    stopping = true;
    const limit = setTimeout(() => {
      logger.error('closing took too long; leaving now');
      exit(1);
    }, CLOSE_LIMIT_MS);
    for (const close of closers.reverse()) await close();
    clearTimeout(limit);
    logger.info({ signal }, 'stopped');
    exit(0);
  }
  const die = (message: string) => (error: unknown) => {
    logger.fatal({ err: error }, message);
    exit(1);
  };
  function exit(code: number): void {
    flushLog();
    process.exit(code);
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => void stop(signal).catch(die('could not close')));
  process.on('uncaughtException', die('uncaught exception'));
  process.on('unhandledRejection', die('unhandled rejection'));
  await start(closing).catch(die('could not start'));
}
