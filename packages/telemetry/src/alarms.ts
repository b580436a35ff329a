// Alarms: what a person should know now. Each goes to the log at once, and to a webhook where one is configured. The same
// alarm again within a short time is counted, not sent again, so a storm of them is one message with a number.
import type { Logger } from './log.ts';

export type AlarmSeverity = 'notice' | 'warning' | 'critical';

export interface Alarm {
  /** What happened, e.g. `long_transaction`. */
  readonly name: string;
  readonly severity: AlarmSeverity;
  /** What it is about (a transaction's name, a channel): alarms with the same name, severity and subject are one. */
  readonly subject: string;
  readonly message: string;
  readonly numbers?: Readonly<Record<string, number>>;
}

export interface Alarms {
  raise(alarm: Alarm): void;
  readonly stats: { readonly delivered: number; readonly dropped: number; readonly waiting: number };
  /** Sends what waits, briefly. */
  close(): Promise<void>;
}

export interface AlarmsOptions {
  readonly service: string;
  readonly instance: string;
  readonly logger: Logger;
  /** Receives POSTs of one alarm each, JSON. Undefined: the log alone. */
  readonly webhookUrl?: string | undefined;
}

/** Alarms waiting for the webhook; beyond it the oldest is dropped and counted. */
const MAX_WAITING = 200;
const COALESCE_MS = 10_000;
const MAX_SUBJECTS = 1_000;
const SEND_TIMEOUT_MS = 3_000;
const TRIES = 3;
const RETRY_MS = 500;
const CLOSE_LIMIT_MS = 2_000;

interface Waiting {
  readonly alarm: Alarm;
  readonly at: string;
  count: number;
}

export function openAlarms({ service, instance, logger, webhookUrl }: AlarmsOptions): Alarms {
  const waiting = new Map<string, Waiting>();
  /** When each was last sent (monotonic ms). */
  const sentAt = new Map<string, number>();
  let delivered = 0;
  let dropped = 0;
  let closing = false;
  let pump: Promise<void> | null = null;

  function raise(alarm: Alarm): void {
    const key = `${alarm.name} ${alarm.severity} ${alarm.subject}`;
    logger[alarm.severity === 'critical' ? 'error' : 'warn'](
      { alarm: alarm.name, severity: alarm.severity, subject: alarm.subject, ...alarm.numbers },
      alarm.message,
    );
    if (webhookUrl === undefined) return;
    const known = waiting.get(key);
    if (known !== undefined) {
      known.count++;
      return;
    }
    if (waiting.size >= MAX_WAITING) dropOldest();
    waiting.set(key, { alarm, at: new Date().toISOString(), count: 1 });
    pump ??= send().finally(() => {
      pump = null;
    });
  }

  function dropOldest(): void {
    for (const oldest of waiting.keys()) {
      waiting.delete(oldest);
      dropped++;
      return;
    }
  }

  async function send(): Promise<void> {
    for (;;) {
      const now = performance.now();
      const due = [...waiting].find(
        ([key]) => closing || now - (sentAt.get(key) ?? Number.NEGATIVE_INFINITY) >= COALESCE_MS,
      );
      if (due === undefined) {
        if (waiting.size === 0) return;
        await pause(RETRY_MS);
        continue;
      }
      const [key, entry] = due;
      waiting.delete(key);
      if (sentAt.size >= MAX_SUBJECTS) sentAt.clear();
      sentAt.set(key, now);
      if (await post(entry)) delivered++;
      else dropped++;
    }
  }

  async function post({ alarm, at, count }: Waiting): Promise<boolean> {
    const body = JSON.stringify({ ...alarm, at, count, service, instance });
    for (let tries = 1; ; tries++) {
      try {
        const reply = await fetch(webhookUrl ?? '', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
          redirect: 'manual',
          signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
        });
        await reply.body?.cancel();
        if (reply.ok) return true;
        throw new Error(`the webhook answered ${reply.status}`);
      } catch (error) {
        if (tries < TRIES && !closing) {
          await pause(RETRY_MS * tries);
          continue;
        }
        logger.warn({ alarm: alarm.name, err: error }, 'alarm not delivered to the webhook');
        return false;
      }
    }
  }

  return {
    raise,
    get stats() {
      return { delivered, dropped, waiting: waiting.size };
    },
    close: async () => {
      closing = true;
      await Promise.race([pump, pause(CLOSE_LIMIT_MS)]);
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
