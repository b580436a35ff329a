// The internal face: health, metrics, and what people ask of forwarding. Builds, never listens.
import type { Knex } from '@ballast/database';
import { type App, createApp } from '@ballast/http';
import { type Logger, type Metrics, registerOperational } from '@ballast/telemetry';
import type { Subscriber } from '../delivery/send-delivery.ts';
import type { Forwarding } from '../lead/forward-source.ts';
import { registerGapRoute } from './gap-route.ts';
import { registerSubscriberRoutes } from './subscriber-routes.ts';
import { registerTopicRoute } from './topic-route.ts';

export interface InternalFace {
  readonly knex: Knex;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly adminToken: string;
  readonly sources: readonly Forwarding[];
  readonly subscribers: readonly Subscriber[];
}

export async function buildInternalFace({
  knex,
  logger,
  metrics,
  adminToken,
  sources,
  subscribers,
}: InternalFace): Promise<App> {
  const app = await createApp({ service: 'forwarding', face: 'internal', logger, metrics });
  // Its own database only: a source or a subscriber that is away is no reason to restart this process.
  const ready = async () => {
    await knex.raw('select 1');
  };
  registerOperational(app, { registry: metrics.registry, ready });
  registerSubscriberRoutes(app, { knex, adminToken, sources, subscribers });
  registerGapRoute(app, { sources, subscribers });
  registerTopicRoute(app, { knex, subscribers });
  return app;
}
