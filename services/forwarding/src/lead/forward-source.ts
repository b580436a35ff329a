// Forwards one source for as long as the process lives. Only the holder of the replication slot forwards; a second
// forwarder is a standby that asks for the slot until it is free.
//
//   lead (lead.ts) → on any error, after a moment: again
import type { Gap } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import type { Logger } from '@ballast/telemetry';
import pg from 'pg';
import type { DeliveryCounters } from '../delivery/deliver-in-turn.ts';
import type { FeedStatus } from '../delivery/feed-status.ts';
import type { Route } from '../delivery/route.ts';
import type { Subscriber } from '../delivery/send-delivery.ts';
import type { KafkaSettings } from '../delivery/send-to-kafka.ts';
import { Misconfigured } from '../misconfigured.ts';
import { openSignal } from '../signal.ts';
import { openWarnings, type WarningName } from '../warnings.ts';
import { type Leading, lead } from './lead.ts';

export interface Source {
  readonly name: string;
  /** Of each of its servers; the primary is followed. */
  readonly database_url: readonly string[];
  readonly slot: string;
  readonly publication: string;
  /** A failover may lose what was forwarded: there is none, or somebody has accepted it. */
  readonly single_machine?: 'accepted' | undefined;
}

export interface ForwardOptions {
  readonly source: Source;
  readonly instance: string;
  readonly subscribers: readonly Subscriber[];
  readonly kafka: KafkaSettings | undefined;
  /** Forwarding's own database. */
  readonly knex: Knex;
  readonly logger: Logger;
  readonly counters: DeliveryCounters;
}

export interface SourceStatus {
  readonly source: string;
  readonly state: 'connecting' | 'standby' | 'leading' | 'misconfigured' | 'waiting';
  readonly since: string;
  readonly reason: string | null;
  readonly generation: number | null;
  /** direct: also where there is no Kafka. */
  readonly route: Route;
  readonly received_events: number;
  readonly tail_events: number;
  readonly retained_bytes: number | null;
  readonly safe_bytes: number | null;
  readonly slot_status: string | null;
  readonly last_beat: string | null;
  /** The source's time for which the last watermark vouches. */
  readonly watermark: string | null;
  readonly warnings: readonly { readonly name: WarningName; readonly why: string }[];
}

export interface Forwarding {
  status(): SourceStatus;
  feeds(): FeedStatus[];
  /** Sends a subscriber what it misses; resolves to the number of events, undefined when this instance does not lead. */
  fill(subscriber: string, gaps: readonly Gap[]): Promise<number | undefined>;
  /** Looks at once what people want, instead of within half a second. */
  nudge(): void;
  close(): Promise<void>;
}

const SLOT_IN_USE = '55006';
const SLOT_MISSING = '42704';
/** A standby takes over within 2 s of a crash. */
const STANDBY_RETRY_MS = 500;
const RETRY_MS = 1_000;
const MISCONFIGURED_RETRY_MS = 5_000;

export function forwardSource(options: ForwardOptions): Forwarding {
  const { source } = options;
  const logger = options.logger.child({ source: source.name });
  const warnings = openWarnings(logger);
  const nudged = openSignal();
  const closing = Promise.withResolvers<void>();
  let closed = false;
  let state: SourceStatus['state'] = 'connecting';
  let since = new Date();
  let reason: string | null = null;
  let receivedEvents = 0;
  let again = false;
  let leading: Leading | undefined;
  /** Also while nobody leads: what was last seen. */
  let lastBeat: Leading['lastBeat'];
  let seen: Leading['seen'] | undefined;

  function become(next: SourceStatus['state'], why: string | null): void {
    if (next === state && why === reason) return;
    state = next;
    reason = why;
    since = new Date();
    const level = next === 'misconfigured' ? 'error' : next === 'waiting' ? 'warn' : 'info';
    logger[level]({ state, reason }, 'source state');
  }

  async function run(): Promise<void> {
    while (!closed) {
      try {
        await lead({
          ...options,
          logger,
          warnings,
          nudged,
          closing: closing.promise,
          again,
          seen,
          onEvent: () => receivedEvents++,
          onLeading: (now) => {
            leading = now;
            again = true;
            become('leading', null);
          },
        });
      } catch (error) {
        if (!closed) await pause(error);
      }
    }
  }

  async function pause(error: unknown): Promise<void> {
    if (leading !== undefined) {
      ({ lastBeat, seen } = leading);
      warnings.clear();
    }
    leading = undefined;
    const code = error instanceof pg.DatabaseError ? error.code : undefined;
    const why = error instanceof Error ? error.message : String(error);
    if (error instanceof Misconfigured) become('misconfigured', why);
    else if (code === SLOT_IN_USE) become('standby', 'another forwarder holds the slot');
    else become('waiting', why);
    const waitMs =
      error instanceof Misconfigured ? MISCONFIGURED_RETRY_MS : code === SLOT_IN_USE ? STANDBY_RETRY_MS : RETRY_MS;
    if (code !== SLOT_MISSING) await Promise.race([nudged.wait(waitMs), closing.promise]);
  }

  function status(): SourceStatus {
    const { beat, at, watermark } = leading?.lastBeat ?? lastBeat ?? {};
    const slot = beat?.slot;
    return {
      source: source.name,
      state,
      since: since.toISOString(),
      reason,
      generation: beat?.history.generation ?? null,
      route: leading?.feeds.route?.route() ?? 'direct',
      received_events: receivedEvents,
      tail_events: leading?.tail.pending(leading.tail.begin()) ?? 0,
      retained_bytes: slot ? Number(slot.retained_bytes) : null,
      safe_bytes: slot?.safe_bytes == null ? null : Number(slot.safe_bytes),
      slot_status: slot?.wal_status ?? null,
      last_beat: at?.toISOString() ?? null,
      watermark: watermark ?? null,
      warnings: warnings.list(),
    };
  }

  const running = run();
  const all = () => leading?.feeds.all ?? [];
  return {
    status,
    feeds: () => all().map((feed) => feed.status()),
    fill: async (subscriber, gaps) =>
      all()
        .find((feed) => feed.subscriber === subscriber)
        ?.fill(gaps),
    nudge: () => nudged.notify(),
    close: async () => {
      closed = true;
      closing.resolve();
      nudged.notify();
      await running;
    },
  };
}
