// Query's two faces. Public: merchants. Internal: health, metrics, deliveries, administration. Built here, never listening.
import type { Knex } from '@ballast/database';
import { registerDirectReceiver } from '@ballast/events';
import { type App, createApp } from '@ballast/http';
import { type Logger, registerOperational } from '@ballast/telemetry';
import type { QueryMetrics } from '../metrics.ts';
import type { Deliveries } from '../read-model/deliveries.ts';
import type { Rebuilds } from '../read-model/rebuild.ts';
import { adminRoutes } from './admin-routes.ts';
import { ordersRoutes } from './orders-routes.ts';

export interface FacesOptions {
  /** The readers' pool. */
  readonly readers: Knex;
  readonly deliveries: Deliveries;
  readonly rebuilds: Rebuilds;
  readonly metrics: QueryMetrics;
  readonly logger: Logger;
  readonly adminToken: string;
  readonly deliveryToken: string;
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined;
}

const openapi = {
  title: 'Ballast query',
  version: '1',
  description: 'What merchants see: their orders, and the whole story of each.',
  bearer: 'An API key: `bk_live_…` opens live orders, `bk_test_…` test orders, of its merchant alone.',
};

export async function buildPublicFace({ readers, metrics, logger, tls }: FacesOptions): Promise<App> {
  const app = await createApp({ service: 'query', face: 'public', logger, metrics, openapi, tls });
  app.decorateRequest('scope', null);
  ordersRoutes(app, readers);
  return app;
}

export async function buildInternalFace(options: FacesOptions): Promise<App> {
  const { readers, deliveries, rebuilds, metrics, logger, adminToken, deliveryToken } = options;
  // A device's own fields may hold fractions: what collection took is delivered as it is.
  const app = await createApp({ service: 'query', face: 'internal', logger, integersOnly: false });
  const ready = async () => void (await readers.raw('select 1 from merchant_order, api_key limit 0'));
  registerOperational(app, { registry: metrics.registry, ready });
  registerDirectReceiver(app, { consumer: deliveries.consumer, token: deliveryToken });
  adminRoutes(app, deliveries, rebuilds, adminToken);
  return app;
}
