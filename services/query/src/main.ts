// Query: what merchants see of their orders. Depends on its own database; events come to it, it asks nobody.
import { startDatabaseClock } from '@ballast/database';
import { listen, tlsOf } from '@ballast/http';
import { createLogger, openAlarms, runService } from '@ballast/telemetry';
import { readConfig } from './config.ts';
import { buildInternalFace, buildPublicFace } from './http/app.ts';
import { createQueryMetrics } from './metrics.ts';
import { openDeliveries } from './read-model/deliveries.ts';
import { openForwarding } from './read-model/forwarding.ts';
import { openRebuilds } from './read-model/rebuild.ts';
import { dropLeftovers, migrateAll, openReadersPool } from './read-model/schemas.ts';
import { consumeKafka } from './workers/consume-kafka.ts';
import { keepRetention } from './workers/retention.ts';

const config = readConfig();
const logger = createLogger({ service: 'query', instance: config.instance, level: config.log_level });

await runService(logger, async (closing) => {
  const { instance, database_url: databaseUrl, retention_days: retentionDays } = config;
  await migrateAll(databaseUrl);
  await dropLeftovers(databaseUrl);
  const readers = closing.add(openReadersPool(databaseUrl), (knex) => knex.destroy());
  const { now } = closing.add(await startDatabaseClock(readers));

  const alarms = closing.add(openAlarms({ service: 'query', instance, logger, webhookUrl: config.alarm_webhook_url }));
  const metrics = createQueryMetrics(alarms, now);
  const deliveries = closing.add(openDeliveries({ databaseUrl, retentionDays, logger, now, applied: metrics.applied }));
  const { knex } = deliveries;
  metrics.watch(knex);
  closing.add(keepRetention({ deliveries, knex, days: retentionDays, now, logger }));

  const { forwarding_url: url, forwarding_admin_token: adminToken } = config;
  const forwarding = url === undefined || adminToken === undefined ? undefined : openForwarding({ url, adminToken });
  const rebuilds = openRebuilds({ knex, databaseUrl, instance, forwarding, logger });
  closing.add(rebuilds.run());

  const { kafka: connection, delivery_token: deliveryToken } = config;
  if (connection !== undefined && url !== undefined) {
    const { consumer } = deliveries;
    closing.add(consumeKafka({ connection, consumer, forwardingUrl: url, deliveryToken, logger }));
  }

  const tokens = { adminToken: config.admin_token, deliveryToken };
  const faces = { readers, deliveries, rebuilds, metrics, logger, ...tokens, tls: tlsOf(config.listen) };
  const internal = closing.add(await buildInternalFace(faces));
  const publicFace = closing.add(await buildPublicFace(faces));
  const internalUrl = await listen(internal, config.internal);
  const publicUrl = await listen(publicFace, config.listen);
  logger.info({ url: publicUrl, internal_url: internalUrl }, 'query is ready');
});
