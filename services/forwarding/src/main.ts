// Forwarding: reads committed events out of each source's log and delivers them to every subscriber, in order, once in
// effect. Reads config, wires, listens, closes.
import { migrate, openDatabase } from '@ballast/database';
import { listen } from '@ballast/http';
import { createLogger, createMetrics, runService } from '@ballast/telemetry';
import { readConfig } from './config.ts';
import { deliveryCounters, registerForwardingMetrics } from './forwarding-metrics.ts';
import { buildInternalFace } from './http/app.ts';
import { forwardSource } from './lead/forward-source.ts';

const POOL_MAX = 4;

const config = readConfig();
const logger = createLogger({ service: 'forwarding', instance: config.instance, level: config.log_level });

await runService(logger, async (closing) => {
  const { instance, subscribers, kafka, admin_token: adminToken, database_url: url } = config;
  const metrics = createMetrics('forwarding');
  const knex = closing.add(openDatabase({ url, applicationName: instance, poolMax: POOL_MAX }), (pool) =>
    pool.destroy(),
  );
  await migrate(knex, new URL('../migrations/', import.meta.url));
  const counters = deliveryCounters(metrics);
  const sources = config.sources.map((source) =>
    forwardSource({ source, instance, subscribers, kafka, knex, logger, counters }),
  );
  closing.add(sources, (all) => Promise.all(all.map((source) => source.close())));
  registerForwardingMetrics(metrics, sources);
  const app = closing.add(await buildInternalFace({ knex, logger, metrics, adminToken, sources, subscribers }));
  logger.info({ internal_url: await listen(app, config.internal) }, 'forwarding runs');
});
