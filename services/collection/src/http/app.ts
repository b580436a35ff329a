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
  description: `What POS terminals call: take a payment, ask for its outcome, void it.

**Signatures.** Every request carries \`Ballast-Signature: v1=\` and the HMAC-SHA256, in lower-case hexadecimal, of these nine
lines under the terminal's secret (its text as it was issued), joined by a line feed, none after the last:

1. \`v1\`
2. \`Ballast-Terminal\`
3. \`Ballast-Key-Id\`
4. \`Ballast-Timestamp\`: Unix time in seconds, at most five minutes from the server's
5. the method
6. the path with its query, as sent
7. \`Idempotency-Key\`, empty where there is none
8. \`Ballast-Deadline-Ms\`, empty where there is none
9. the SHA-256 of the body as sent, in lower-case hexadecimal

**Sending again.** The same request under the same key is never taken twice, and gets the same answer. When nothing was heard, or
an error says \`money_moved: see_order\`, send it again (signed anew where its timestamp has grown old), or ask for it.`,
};

export async function buildPublicFace({ core, inbound, directory, metrics, logger, tls }: FacesOptions): Promise<App> {
  const app = await createApp({ service: 'collection', face: 'public', logger, metrics, openapi, tls });
  app.decorateRequest('signedBy', null);
  paymentsRoutes(app, { core, inbound, signed: requireSignature(directory, core.clock) });
  return app;
}

export async function buildInternalFace(options: FacesOptions): Promise<App> {
  const { core, partitions, provisioning, metrics, logger, adminToken, ready } = options;
  // Its own request durations would blur those of the terminals: one histogram belongs to one face.
  const app = await createApp({ service: 'collection', face: 'internal', logger });
  registerOperational(app, { registry: metrics.registry, ready });
  adminRoutes(app, provisioning, adminToken);
  personsRoutes(app, core, adminToken);
  windowsRoutes(app, core, adminToken);
  daysRoutes(app, core, partitions.state, adminToken);
  return app;
}
