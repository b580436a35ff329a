// A whole query service in this process: real database, real sockets.

import type { DeliveryReply, OrderEvent } from '@ballast/contracts';
import { freshDatabase } from '@ballast/database/testing';
import { listen } from '@ballast/http';
import { createLogger } from '@ballast/telemetry';
import { fetch } from 'undici';
import { buildInternalFace, buildPublicFace } from '../../src/http/app.ts';
import { createQueryMetrics } from '../../src/metrics.ts';
import { openDeliveries } from '../../src/read-model/deliveries.ts';
import { openForwarding } from '../../src/read-model/forwarding.ts';
import { openRebuilds } from '../../src/read-model/rebuild.ts';
import { migrateAll, openReadersPool } from '../../src/read-model/schemas.ts';

export const ADMIN_TOKEN = 'admin-token-of-tests';
const DELIVERY_TOKEN = 'delivery-token-of-tests';
const anyPort = { host: '127.0.0.1', port: 0 };

export type TestQuery = Awaited<ReturnType<typeof startQuery>>;

export interface TestQueryOptions {
  readonly retentionDays?: number;
  readonly now?: () => number;
  readonly forwardingUrl?: string;
}

export async function startQuery(label: string, options: TestQueryOptions = {}) {
  const { retentionDays = 400, now = Date.now, forwardingUrl } = options;
  const database = await freshDatabase(label);
  const databaseUrl = database.url;
  const logger = createLogger({ service: 'query', level: 'silent' });
  await migrateAll(databaseUrl);
  const readers = openReadersPool(databaseUrl);
  const metrics = createQueryMetrics({ raise: () => undefined }, now);
  const deliveries = openDeliveries({ databaseUrl, retentionDays, logger, now, applied: metrics.applied });
  const { knex } = deliveries;
  metrics.watch(knex);
  const forwarding =
    forwardingUrl === undefined ? undefined : openForwarding({ url: forwardingUrl, adminToken: ADMIN_TOKEN });
  const rebuilds = openRebuilds({ knex, databaseUrl, instance: 'query-test', forwarding, logger });
  const faces = {
    readers,
    deliveries,
    rebuilds,
    metrics,
    logger,
    adminToken: ADMIN_TOKEN,
    deliveryToken: DELIVERY_TOKEN,
  };
  const internal = await buildInternalFace(faces);
  const publicFace = await buildPublicFace(faces);
  const internalUrl = await listen(internal, anyPort);
  const url = await listen(publicFace, anyPort);

  async function admin(method: string, path: string, body?: unknown) {
    const response = await fetch(internalUrl + path, {
      method,
      headers: {
        authorization: `Bearer ${ADMIN_TOKEN}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? null : JSON.parse(text) };
  }

  return {
    url,
    internalUrl,
    databaseUrl,
    deliveries,
    rebuilds,
    knex,
    readers,
    admin,
    logger,

    /** As forwarding does it. */
    async deliver(messages: readonly (OrderEvent | object)[], token = DELIVERY_TOKEN): Promise<DeliveryReply> {
      const response = await fetch(`${internalUrl}/deliveries`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ messages }),
      });
      if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
      return (await response.json()) as DeliveryReply;
    },

    async issueKey(merchantId: string, livemode = false): Promise<{ id: string; api_key: string }> {
      const { body } = await admin('POST', '/admin/api-keys', {
        merchant_id: `mer_${merchantId}`,
        livemode,
        name: 'test',
      });
      return body;
    },

    async get(path: string, apiKey?: string) {
      const response = await fetch(url + path, {
        headers: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` },
      });
      const text = await response.text();
      return {
        status: response.status,
        headers: response.headers,
        body: JSON.parse(text),
      };
    },

    async stop(): Promise<void> {
      await publicFace.close();
      await internal.close();
      await deliveries.close();
      await readers.destroy();
      await database.drop();
    },
  };
}
