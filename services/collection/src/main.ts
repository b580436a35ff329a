// Collection: takes payments, status questions and voids from terminals; calls banks; resolves what is in doubt. Depends
// on its own database and the banks, on nothing else.
import { randomBytes } from 'node:crypto';
import { migrate, openDatabase, startDatabaseClock } from '@ballast/database';
import { listen, tlsOf } from '@ballast/http';
import { createLogger, runService } from '@ballast/telemetry';
import { openMasterKeys } from './cards/master-keys.ts';
import { openVault } from './cards/vault.ts';
import { openChannels } from './channels/open-channels.ts';
import { readConfig } from './config.ts';
import { buildInternalFace, buildPublicFace } from './http/app.ts';
import { openDirectory } from './merchants/directory.ts';
import { openProvisioning } from './merchants/provision.ts';
import { createCollectionMetrics } from './metrics.ts';
import { openPayments } from './payments/core.ts';
import { checkDatabase } from './startup-checks.ts';
import { keepClean } from './workers/cleaner.ts';
import { ensurePartitions, keepPartitions } from './workers/partitions.ts';
import { runResolver } from './workers/resolver.ts';

const config = readConfig();
const logger = createLogger({ service: 'collection', instance: config.instance, level: config.log_level });

await runService(logger, async (closing) => {
  const knex = closing.add(openDatabase({ url: config.database_url, applicationName: 'collection', poolMax: 8 }), (k) =>
    k.destroy(),
  );
  await checkDatabase(knex, config.single_machine === 'accepted');
  await migrate(knex, new URL('../migrations/', import.meta.url));
  const clock = closing.add(await startDatabaseClock(knex));
  await ensurePartitions(knex, clock.now());
  const failed = (what: string) => (error: unknown) => logger.error({ err: error }, what);
  closing.add(keepPartitions(knex, clock.now, failed('partitions could not be made')));

  const metrics = createCollectionMetrics(logger);
  const keys = openMasterKeys(config.keys);
  const vault = closing.add(
    await openVault({ knex, keys, now: clock.now, onError: failed('data keys could not be kept') }),
  );
  const channels = openChannels({ entries: config.channels, logger, metrics });
  for (const channel of channels.values()) closing.add(channel);
  const channelModes = new Map(config.channels.map(({ name, livemode }) => [name, livemode]));
  const directory = openDirectory({ knex, keys, channelModes });
  const provisioning = openProvisioning({ knex, keys, directory, channels: new Set(channelModes.keys()) });
  const owner = `${config.instance}-${randomBytes(4).toString('hex')}`;
  const core = closing.add(
    openPayments({
      knex,
      databaseUrl: config.database_url,
      channels,
      vault,
      clock,
      owner,
      logger,
      duplicateWindowMs: config.duplicate_window_ms,
      onOddAnswer: metrics.oddAnswer,
    }),
  );
  metrics.watch(core, knex);
  closing.add(runResolver(core));
  closing.add(keepClean(knex, failed('old keys could not be removed')));

  const ready = async () => void (await knex.raw('select 1 from orders limit 0'));
  const faces = { core, directory, provisioning, metrics, logger, adminToken: config.admin_token, ready };
  const internal = closing.add(await buildInternalFace(faces));
  const publicFace = closing.add(await buildPublicFace({ ...faces, tls: tlsOf(config.listen) }));
  const internalUrl = await listen(internal, config.internal);
  const url = await listen(publicFace, config.listen);
  logger.info({ url, internal_url: internalUrl, owner }, 'collection is ready');
});
