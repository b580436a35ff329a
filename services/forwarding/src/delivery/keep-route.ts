// Watches Kafka's feed of one source, and lets the direct feeds of the topic's subscribers serve or stand by (route.ts).
import type { Logger } from '@ballast/telemetry';
import type { Feed } from './feed.ts';
import { LATE_MS, nextRoute, type Route } from './route.ts';

export interface RouteKeeper {
  route(): Route;
  /** To be called several times a second. */
  look(): void;
}

/** Kafka's consumers have read what it acknowledged this long ago, or they ask for it. */
const REPLAY_MS = 10_000;

export function keepRoute(kafka: Feed, direct: readonly Feed[], logger: Logger): RouteKeeper {
  // A new leader does not know how Kafka is: direct serves until it has been seen to be well.
  let route: Route = 'catch_up';
  let wellSince: number | undefined;
  const acknowledged: { readonly kept: ReturnType<Feed['kept']>; readonly since: number }[] = [];

  /** Where Kafka was REPLAY_MS ago. */
  function behind(now: number): ReturnType<Feed['kept']> | undefined {
    const kept = kafka.kept();
    if (acknowledged[acknowledged.length - 1]?.kept !== kept) acknowledged.push({ kept, since: now });
    while ((acknowledged[1]?.since ?? now) < now - REPLAY_MS) acknowledged.shift();
    const oldest = acknowledged[0];
    return oldest !== undefined && oldest.since < now - REPLAY_MS ? oldest.kept : undefined;
  }

  function look(): void {
    const now = performance.now();
    const { state, reading, lag_seconds } = kafka.status();
    const lagMs = lag_seconds * 1_000;
    const readsLog = reading === 'log';
    const failing = state !== 'live' && state !== 'catching_up';
    wellSince = failing || !readsLog || lagMs > LATE_MS ? undefined : (wellSince ?? now);
    const wellForMs = wellSince === undefined ? 0 : now - wellSince;
    const next = nextRoute(route, { failing, lagMs, readsLog, wellForMs });
    if (next !== route) logger.warn({ from: route, to: next, lag_seconds, state }, 'route changed');
    route = next;
    const checkpoint = behind(now);
    for (const feed of direct) {
      if (route === 'kafka') feed.standBy(checkpoint);
      else feed.serve();
    }
  }

  return { route: () => route, look };
}
