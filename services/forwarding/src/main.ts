// Forwarding: reads committed events out of each source's log and delivers them to every subscriber, in order, once in
// effect. Reads config, wires, listens, closes.
import { migrate, openDatabase } from '@ballast/database';
import { listen } from '@ballast/http';
import { createLogger, createMetrics } from '@ballast/telemetry';
import { readConfig } from './config.ts';
import { forwardSource } from './forward-source.ts';
import { deliveryCounters, registerForwardingMetrics } from './forwarding-metrics.ts';
import { buildInternalFace } from './http/app.ts';

const POOL_MAX = 4;

const config = readConfig();
const logger = createLogger({ service: 'forwarding', instance: config.instance, level: config.log_level });
const metrics = createMetrics('forwarding');
const knex = openDatabase({ url: config.database_url, applicationName: config.instance, poolMax: POOL_MAX });

async function start() {
  await migrate(knex, new URL('../migrations/', import.meta.url));
  const counters = deliveryCounters(metrics);
  const sources = config.sources.map((source) =>
    forwardSource({
      source,
      instance: config.instance,
      subscribers: config.subscribers,
      kafka: config.kafka,
      knex,
      logger,
      counters,
    }),
  );
  registerForwardingMetrics(metrics, sources);
  const app = await buildInternalFace({
    knex,
    logger,
    metrics,
    adminToken: config.admin_token,
    sources,
    subscribers: config.subscribers,
  });
  logger.info({ internal_url: await listen(app, config.internal) }, 'forwarding runs');
  return async () => {
    await app.close();
    await Promise.all(sources.map((source) => source.close()));
    await knex.destroy();
  };
}

try {
  const stop = await start();
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => void stop().then(() => process.exit(0)));
} catch (error) {
  logger.fatal({ err: error }, 'forwarding could not start');
  process.exit(1);
}
