// Watches Kafka's feed of one source and what the topic's subscribers say, and lets their direct feeds serve or stand by
// (route.ts).
import type { Logger } from '@ballast/telemetry';
import type { Feed } from './feed.ts';
import { BEHIND_MS, LATE_MS, nextRoute, nextWay, type Route, type Way } from './route.ts';

export interface RouteKeeper {
  route(): Route;
  /** To be called several times a second. */
  look(): void;
}

/** A watermark that Kafka acknowledged. */
interface Published {
  readonly value: string;
  readonly at: number;
}

interface Follower {
  readonly feed: Feed;
  way: Way;
  /** How far it was in the topic, and since when. */
  reached: string | null;
  since: number;
  wellSince: number | undefined;
}

/** A minute's worth; whoever is further behind is late by more than that. */
const KEPT_PUBLISHED = 60;

export function keepRoute(kafka: Feed, direct: readonly Feed[], logger: Logger): RouteKeeper {
  const began = performance.now();
  // A new leader does not know how Kafka is: direct serves until it has been seen to be well.
  let route: Route = 'direct';
  let directSince = began;
  let wellSince: number | undefined;
  const published: Published[] = [];
  const followers = direct.map(
    (feed): Follower => ({ feed, way: 'direct', reached: null, since: began, wellSince: undefined }),
  );

  function lookAtKafka(now: number): void {
    const { state, reading, lag_seconds } = kafka.status();
    const { at, watermark } = kafka.acknowledged();
    if (watermark !== null && watermark !== published[published.length - 1]?.value)
      published.push({ value: watermark, at: now });
    if (published.length > KEPT_PUBLISHED) published.shift();
    const lagMs = lag_seconds * 1_000;
    const readsLog = reading === 'log';
    const failing = state !== 'live' && state !== 'catching_up';
    const answers = at > directSince;
    wellSince = failing || !readsLog || lagMs > LATE_MS ? undefined : (wellSince ?? now);
    const wellForMs = wellSince === undefined ? 0 : now - wellSince;
    const next = nextRoute(route, { failing, answers, lagMs, readsLog, wellForMs });
    if (next === route) return;
    logger.warn({ from: route, to: next, lag_seconds, state }, 'route changed');
    if (next === 'direct') directSince = now;
    route = next;
  }

  function lookAt(follower: Follower, now: number): void {
    const { feed } = follower;
    const reached = feed.heard()?.by_topic ?? null;
    if (reached !== follower.reached) Object.assign(follower, { reached, since: now });
    const lateMs = late(reached, now);
    follower.wellSince = lateMs > BEHIND_MS ? undefined : (follower.wellSince ?? now);
    if (route !== 'kafka') {
      follower.way = 'direct';
      feed.serve();
      return;
    }
    const wellForMs = follower.wellSince === undefined ? 0 : now - follower.wellSince;
    const next = nextWay(follower.way, { lateMs, stuckMs: now - follower.since, wellForMs });
    if (next !== follower.way)
      logger.warn({ subscriber: feed.subscriber, from: follower.way, to: next, late_ms: lateMs }, 'way changed');
    follower.way = next;
    if (next === 'kafka') feed.standBy(Math.min(lateMs, now - began));
    else feed.serve();
  }

  function late(reached: string | null, now: number): number {
    if (reached === null) return Number.POSITIVE_INFINITY;
    const missed = published.find(({ value }) => value > reached);
    return missed === undefined ? 0 : now - missed.at;
  }

  return {
    route: () => route,
    look: () => {
      const now = performance.now();
      lookAtKafka(now);
      for (const follower of followers) lookAt(follower, now);
    },
  };
}
