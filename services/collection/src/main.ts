// Collection: takes payments, status questions and voids from terminals; calls banks; resolves what is in doubt. Depends
// on its own database and the banks, on nothing else.
import { randomBytes } from 'node:crypto';
import { listen, tlsOf } from '@ballast/http';
import { createLogger, openAlarms, runService } from '@ballast/telemetry';
import { openMasterKeys } from './cards/master-keys.ts';
import { openVault } from './cards/vault.ts';
import { followRules } from './channels/follow-rules.ts';
import { openChannels, type PolicyListener } from './channels/open-channels.ts';
import { readConfig } from './config.ts';
import { buildInternalFace, buildPublicFace } from './http/app.ts';
import { openWayIn } from './http/way-in.ts';
import { openMerchants } from './merchants/provision.ts';
import { createCollectionMetrics } from './metrics.ts';
import { openOrderDatabase } from './order-database.ts';
import { openPayments } from './payments/core.ts';
import { runResolver } from './workers/resolver.ts';

const config = readConfig();
const logger = createLogger({ service: 'collection', instance: config.instance, level: config.log_level });

await runService(logger, async (closing) => {
  const { instance, channels: entries, database_url: databaseUrl, refund_window_days: refundWindowDays } = config;
  const alarms = closing.add(
    openAlarms({ service: 'collection', instance, logger, webhookUrl: config.alarm_webhook_url }),
  );
  const metrics = createCollectionMetrics(alarms);
  const orders = await openOrderDatabase(config, logger, alarms, metrics, closing);
  const { knex, clock } = orders;
  const keys = openMasterKeys(config.keys);
  const onError = (error: unknown) => logger.error({ err: error }, 'data keys could not be kept');
  const vault = closing.add(await openVault({ knex, keys, refundWindowDays, now: clock.now, onError }));

  const listeners: PolicyListener[] = [];
  const channels = openChannels({ entries, logger, alarms, metrics, listeners });
  for (const channel of channels.values()) closing.add(channel);
  const wayIn = openWayIn(logger, metrics, closing);
  const { control_database_url: url, state_dir: stateDir, duplicate_window_ms: duplicateWindowMs } = config;
  closing.add(
    await followRules({ url, instance, stateDir, knex, channels, entries, listeners, wayIn, logger, metrics }),
  );

  const channelModes = new Map(entries.map(({ name, livemode }) => [name, livemode]));
  const merchants = openMerchants({ knex, keys, channelModes });
  const owner = `${instance}-${randomBytes(4).toString('hex')}`;
  const { oddAnswer: onOddAnswer } = metrics;
  const core = closing.add(
    openPayments({ ...orders, databaseUrl, channels, vault, owner, logger, duplicateWindowMs, onOddAnswer }),
  );
  metrics.watch(core, knex);
  closing.add(runResolver(core));

  const ready = async () => void (await knex.raw('select 1 from orders limit 0'));
  const parts = { core, partitions: orders.partitions, inbound: wayIn.inbound, ...merchants };
  const faces = { ...parts, metrics, logger, adminToken: config.admin_token, ready };
  const internal = closing.add(await buildInternalFace(faces));
  const terminals = closing.add(await buildPublicFace({ ...faces, tls: tlsOf(config.listen) }));
  const internalUrl = await listen(internal, config.internal);
  logger.info({ url: await listen(terminals, config.listen), internal_url: internalUrl, owner }, 'collection is ready');
});
