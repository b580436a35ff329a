// Collection's two faces. Public: terminals. Internal: health, metrics, provisioning. Built here, never listening.
import { type App, createApp } from '@ballast/http';
import type { Inbound } from '@ballast/resilience';
import { type Logger, registerOperational } from '@ballast/telemetry';
import type { Directory } from '../merchants/directory.ts';
import type { Provisioning } from '../merchants/provision.ts';
import type { CollectionMetrics } from '../metrics.ts';
import type { PaymentsCore } from '../payments/core.ts';
import type { PartitionsState } from '../workers/partitions.ts';
import { adminRoutes } from './admin-routes.ts';
import { daysRoutes } from './days-routes.ts';
import { paymentsRoutes } from './payments-routes.ts';
import { personsRoutes } from './persons-routes.ts';
import { requireSignature } from './terminal-signature.ts';
import { windowsRoutes } from './windows-routes.ts';

export interface FacesOptions {
  readonly core: PaymentsCore;
  readonly inbound: Inbound;
  readonly partitions: { state(): PartitionsState };
  readonly directory: Directory;
  readonly provisioning: Provisioning;
  readonly metrics: CollectionMetrics;
  readonly logger: Logger;
  readonly adminToken: string;
  /** Rejects while the order database or its migrations are not there. */
  readonly ready: () => Promise<void>;
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined;
}

const openapi = {
  title: 'Ballast collection',
  version: '1',
  description: 'What POS terminals call: take a payment, ask for its outcome, void it.',
};

export async function buildPublicFace({ core, inbound, directory, metrics, logger, tls }: FacesOptions): Promise<App> {
  const app = await createApp({ service: 'collection', logger, metrics, openapi, tls });
  app.decorateRequest('signedBy', null);
  paymentsRoutes(app, { core, inbound, signed: requireSignature(directory, core.clock) });
  return app;
}

export async function buildInternalFace(options: FacesOptions): Promise<App> {
  const { core, partitions, provisioning, metrics, logger, adminToken, ready } = options;
  // Its own request durations would blur those of the terminals: one histogram belongs to one face.
  const app = await createApp({ service: 'collection', logger });
  registerOperational(app, { registry: metrics.registry, ready });
  adminRoutes(app, provisioning, adminToken);
  personsRoutes(app, core, adminToken);
  windowsRoutes(app, core, adminToken);
  daysRoutes(app, core, partitions.state, adminToken);
  return app;
}
