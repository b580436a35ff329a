// The two ways in which requests arrive. Both call `onAnswer` with when the request was due: its latency counts from there.
import { type Answer, type Connection, connect } from './connection.ts';
import type { Arrival } from './plan.ts';
import type { Prepared } from './requests.ts';

export interface Run {
  readonly url: string;
  readonly next: () => Prepared;
  /** Monotonic ms. */
  readonly until: number;
  readonly onAnswer: (prepared: Prepared, answer: Answer | null, dueAt: number) => void;
}

/** Resolves when the last answer is there. */
export function arrive(arrival: Arrival, run: Run): Promise<void> {
  return arrival.kind === 'closed' ? closed(arrival.connections, run) : open(arrival, run);
}

async function closed(connections: number, run: Run): Promise<void> {
  const all = await Promise.all(Array.from({ length: connections }, () => connect(run.url)));
  await Promise.all(
    all.map(
      (connection) =>
        new Promise<void>((resolve) => {
          const ask = () => {
            const dueAt = performance.now();
            if (dueAt >= run.until) return resolve();
            const prepared = run.next();
            connection.send(prepared.bytes, (answer) => {
              run.onAnswer(prepared, answer, dueAt);
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
  const all = await Promise.all(Array.from({ length: arrival.maxConnections }, () => connect(run.url)));
  const idle: Connection[] = [...all];
  const waiting: { prepared: Prepared; dueAt: number }[] = [];
  const everyMs = 1_000 / arrival.perSecond;
  const startedAt = performance.now();
  let sent = 0;
  let answered = 0;
  await new Promise<void>((resolve) => {
    const pump = () => {
      for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
        const connection = idle.pop();
        if (connection === undefined) return;
        waiting.shift();
        const { prepared, dueAt } = next;
        connection.send(prepared.bytes, (answer) => {
          run.onAnswer(prepared, answer, dueAt);
          answered++;
          idle.push(connection);
          pump();
          if (answered === sent && performance.now() >= run.until) resolve();
        });
      }
    };
    const tick = () => {
      const now = performance.now();
      for (
        let dueAt = startedAt + sent * everyMs;
        dueAt <= now && dueAt < run.until;
        dueAt = startedAt + sent * everyMs
      ) {
        waiting.push({ prepared: run.next(), dueAt });
        sent++;
      }
      pump();
      if (now < run.until) setTimeout(tick, Math.max(0, startedAt + sent * everyMs - performance.now()));
      else if (answered === sent) resolve();
    };
    tick();
  });
  for (const connection of all) connection.close();
}
