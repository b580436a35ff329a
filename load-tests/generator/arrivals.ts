// The two ways in which requests arrive. Both call `onAnswer` with when the request was due: its latency counts from there.
import { type Answer, type Connection, connect } from './connection.ts';
import type { Arrival } from './plan.ts';
import type { Prepared } from './requests.ts';

export interface Run {
  /** Connections are spread evenly over them. */
  readonly urls: readonly string[];
  readonly next: () => Prepared;
  /** Monotonic ms. */
  readonly until: number;
  readonly onAnswer: (prepared: Prepared, answer: Answer | null, dueAt: number, sentAt: number) => void;
  /** In how many ms the very same bytes are due again; null: never. Open runs only. */
  readonly again?: (prepared: Prepared, answer: Answer | null) => number | null;
}

/** Resolves when the last answer is there. */
export function arrive(arrival: Arrival, run: Run): Promise<void> {
  return arrival.kind === 'closed' ? closed(arrival.connections, run) : open(arrival, run);
}

async function closed(connections: number, run: Run): Promise<void> {
  const all = await connectAll(run.urls, connections);
  await Promise.all(
    all.map(
      (connection) =>
        new Promise<void>((resolve) => {
          const ask = () => {
            const dueAt = performance.now();
            if (dueAt >= run.until) return resolve();
            const prepared = run.next();
            connection.send(prepared.bytes, (answer) => {
              run.onAnswer(prepared, answer, dueAt, dueAt);
              ask();
            });
          };
          ask();
        }),
    ),
  );
  for (const connection of all) connection.close();
}

/**
 * At a fixed rate, whatever the answers do. A request that finds every connection busy waits for one, and its waiting is
 * part of its latency: a service that stalls cannot make the requests it would have stalled disappear from the figures.
 */
async function open(arrival: Extract<Arrival, { kind: 'open' }>, run: Run): Promise<void> {
  const all = await connectAll(run.urls, arrival.maxConnections);
  const idle: Connection[] = [...all];
  const waiting: { prepared: Prepared; dueAt: number }[] = [];
  const everyMs = 1_000 / arrival.perSecond;
  const startedAt = performance.now();
  let scheduled = 0;
  /** Due, or to be due again, and not yet answered for good. */
  let unanswered = 0;
  await new Promise<void>((resolve) => {
    const answered = (prepared: Prepared, answer: Answer | null) => {
      const inMs = run.again?.(prepared, answer) ?? null;
      const dueAt = performance.now() + (inMs ?? 0);
      if (inMs !== null && dueAt < run.until) {
        setTimeout(() => {
          waiting.push({ prepared, dueAt });
          pump();
        }, inMs);
        return;
      }
      unanswered--;
      if (unanswered === 0 && performance.now() >= run.until) resolve();
    };
    const pump = () => {
      for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
        const connection = idle.shift(); // the one idle longest: so instances share evenly, as terminals' own lines would
        if (connection === undefined) return;
        waiting.shift();
        const { prepared, dueAt } = next;
        const sentAt = performance.now();
        connection.send(prepared.bytes, (answer) => {
          run.onAnswer(prepared, answer, dueAt, sentAt);
          idle.push(connection);
          pump();
          answered(prepared, answer);
        });
      }
    };
    const tick = () => {
      const now = performance.now();
      for (
        let dueAt = startedAt + scheduled * everyMs;
        dueAt <= now && dueAt < run.until;
        dueAt = startedAt + scheduled * everyMs
      ) {
        waiting.push({ prepared: run.next(), dueAt });
        scheduled++;
        unanswered++;
      }
      pump();
      if (now < run.until) setTimeout(tick, Math.max(0, startedAt + scheduled * everyMs - performance.now()));
      else if (unanswered === 0) resolve();
    };
    tick();
  });
  for (const connection of all) connection.close();
}

function connectAll(urls: readonly string[], count: number): Promise<Connection[]> {
  return Promise.all(Array.from({ length: count }, (_, n) => connect(urls[n % urls.length] ?? '')));
}
