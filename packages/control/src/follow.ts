// For services: follows the control database, for ever, and never throws into the caller. It listens, and looks every
// 150 ms in case a notification was lost; reports what it has applied; and goes on by itself with what it holds (held.ts)
// while the control database is away.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { createHeld, type Head, type HeldOptions, within } from './held.ts';
import {
  documentSql,
  forgetInstancesSql,
  headSql,
  reportDrillSql,
  reportInstanceSql,
  stopInstanceSql,
} from './reads.sql.ts';
import { openSession, type Session } from './session.ts';
import { createShares } from './shares.ts';
import type { ControlSource, ControlState } from './state.ts';

export interface FollowOptions extends HeldOptions {
  /** Undefined: there is no control database; what was kept holds. */
  readonly url: string | undefined;
  readonly service: string;
  readonly instance: string;
  /** Which cluster-wide limits (`channel:bank_a:pay`, `limiter:merchant`) this process takes a share of; default none. */
  readonly leases?: (target: string) => boolean;
  /** Channels whose breaker lets payments pass here; default none. */
  readonly healthyChannels?: () => readonly string[];
}

export interface FollowStatus {
  readonly source: ControlSource;
  readonly connected: boolean;
  readonly generation: number;
  readonly version: number;
  readonly problem: string | null;
}

export interface DrillReport {
  readonly drill: string;
  /** A stop condition was met: the drill ends here at once, and everywhere within a second. */
  readonly tripped: boolean;
  readonly why: string;
  readonly numbers: Readonly<Record<string, number>>;
}

export interface ControlFollower {
  state(): ControlState;
  status(): FollowStatus;
  /** Database time, ms since the epoch. */
  now(): number;
  reportDrill(report: DrillReport): void;
  close(): Promise<void>;
}

/** With the time limit of a question (session.ts), a dead connection is replaced within 0.5 s, inside the promised second. */
const POLL_MS = 150;
const TICK_MS = 100;
const REPORT_MS = 1_000;
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 500;
const FIRST_CONTACT_MS = 500;
const CLOSE_MS = 2_000;
const MOST_DRILL_REPORTS = 1_000;
/** Classes of SQLSTATE: a value that is none, a constraint. */
const refusals = new Set(['22', '23']);

/** Resolves when what was kept is in force, and the control database was asked once or did not answer within 0.5 s. */
export async function followControl(options: FollowOptions): Promise<ControlFollower> {
  const { url, log } = options;
  const run = randomUUID();
  const shares = createShares(run, options.leases ?? (() => false));
  const held = createHeld(options, shares.current);
  const waking = createWaking();
  const drillReports: DrillReport[] = [];
  const contact = Promise.withResolvers<void>();
  let connected = false;
  let closed = false;

  async function look(session: Session): Promise<void> {
    const askedAt = performance.now();
    const [head] = await session.query<Head & Record<string, unknown>>(headSql, [held.version]);
    if (head === undefined) throw new Error('the control database has no head');
    if (held.hear(head, askedAt)) {
      const [row] = await session.query<{ document: unknown }>(documentSql);
      held.adopt(row?.document, head);
    }
    if (await shares.renew(session, held.document)) held.refresh();
  }

  /** The database was restored to before the drill, say: a report that it refuses would be refused for ever. */
  function dropUnlessAway(error: unknown, { drill, tripped, why }: DrillReport): void {
    if (!(error instanceof pg.DatabaseError) || !refusals.has((error.code ?? '').slice(0, 2))) throw error;
    log.warn({ drill, tripped, why, error: error.message }, 'control: the report of a drill is refused, and dropped');
  }

  function createReport(session: Session): () => Promise<void> {
    let reported = '';
    let reportedAt = 0;
    return async () => {
      const { generation, version, source, problem } = held;
      const healthy = [...(options.healthyChannels?.() ?? [])];
      const now = JSON.stringify([generation, version, source, problem, healthy]);
      if (now !== reported || performance.now() - reportedAt >= REPORT_MS) {
        const values = [
          options.instance,
          run,
          options.service,
          process.pid,
          generation,
          version,
          source,
          problem,
          healthy,
        ];
        await session.query(reportInstanceSql, values);
        reported = now;
        reportedAt = performance.now();
      }
      for (let next = drillReports[0]; next !== undefined; next = drillReports[0]) {
        const id = next.drill.slice('drl_'.length);
        const numbers = JSON.stringify(next.numbers);
        const storing = session.query(reportDrillSql, [id, options.instance, next.tripped, next.why, numbers]);
        await storing.catch((error: unknown) => dropUnlessAway(error, next));
        drillReports.shift();
      }
    };
  }

  /** One connection, until it is lost or the follower is closed. */
  async function followOnce(controlUrl: string): Promise<void> {
    const session = await openSession(controlUrl, `control ${options.instance}`, waking.wake);
    const report = createReport(session);
    try {
      await session.query(forgetInstancesSql);
      while (!closed) {
        await look(session);
        await report();
        if (!connected) log.info({ version: held.version, source: held.source }, 'control: connected');
        connected = true;
        contact.resolve();
        await waking.sleep(POLL_MS);
      }
      await session.query(stopInstanceSql, [run]);
    } finally {
      session.close().catch(() => undefined); // lost already, or ending: there is nobody to tell
    }
  }

  async function follow(controlUrl: string): Promise<void> {
    let backoff = FIRST_BACKOFF_MS;
    let told = '';
    while (!closed) {
      try {
        await followOnce(controlUrl);
      } catch (error) {
        if (connected || String(error) !== told)
          log.warn(
            { error: String(error), version: held.version, source: held.source },
            'control: away; what is held stays',
          );
        told = String(error);
        backoff = connected ? FIRST_BACKOFF_MS : Math.min(LONGEST_BACKOFF_MS, backoff * 2);
        connected = false;
        await waking.sleep(backoff);
      }
    }
  }

  await held.start();
  const ticking = setInterval(held.refresh, TICK_MS);
  const following = url === undefined ? Promise.resolve() : follow(url);
  if (url !== undefined) await within(FIRST_CONTACT_MS, contact.promise);

  return {
    state: held.state,
    now: held.now,
    status: () => {
      const { source, generation, version, problem } = held;
      return { source, connected, generation, version, problem };
    },
    reportDrill: (report) => {
      if (report.tripped) held.trip(report.drill);
      if (drillReports.length < MOST_DRILL_REPORTS) drillReports.push(report);
      waking.wake();
    },
    close: async () => {
      closed = true;
      clearInterval(ticking);
      waking.wake();
      await within(CLOSE_MS, following);
      await within(CLOSE_MS, held.close());
    },
  };
}

/** Sleep that a notification ends; one that came while awake ends the next sleep at once. */
function createWaking() {
  let pending = false;
  let rouse: () => void = () => undefined;
  return {
    wake: (): void => {
      pending = true;
      rouse();
    },
    sleep: async (ms: number): Promise<void> => {
      if (!pending) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          rouse = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      pending = false;
    },
  };
}
