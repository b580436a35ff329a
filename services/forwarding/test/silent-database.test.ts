// Forwarding's own database whose machine vanishes without closing a connection. Deliveries need it for nothing but storing
// how far they are; whoever has to know that first must not sit on the slot meanwhile.
import { openDatabase } from '@ballast/database';
import { freshDatabase, startProxy, waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 30_000;

async function openScene(label: string) {
  const source = await started(startSource(label));
  const own = await started(freshDatabase(`${label}_own`).then((it) => ({ ...it, close: it.drop })));
  const { hostname, port } = new URL(own.url);
  const proxy = await started(startProxy({ host: hostname, port: Number(port) }));
  const through = new URL(own.url);
  through.port = String(proxy.port);
  const subscriber = await started(startSubscriber('query'));
  const start = (instance: string, databaseUrl: string) =>
    started(startForwarder({ source, subscribers: [subscriber], databaseUrl, instance }));
  return { source, own, proxy, through: through.href, subscriber, start };
}

test.concurrent('deliveries go on, it is said, and positions are stored again when it is back', async () => {
  const { source, own, proxy, through, subscriber, start } = await openScene('silent_own');
  const forwarder = await start('cut-off', through);
  await forwarder.live();
  proxy.holdAnswers();
  await waitFor('it to be said', () => forwarder.log().includes('positions are not stored'), LIMIT_MS);
  await source.write(100);
  await subscriber.complete(source);
  const direct = openDatabase({ url: own.url, applicationName: 'test', poolMax: 1 });
  await started(Promise.resolve({ close: () => direct.destroy() }));
  proxy.cut();
  const storedAt = async () => {
    const { rows } = await direct.raw('select max(updated_at)::text as at from subscriber_feed');
    return rows[0].at as string;
  };
  const before = await storedAt();
  await waitFor('positions to be stored', async () => (await storedAt()) !== before, LIMIT_MS);
  expect(await subscriber.differences(source)).toEqual([]);
}, 90_000);

test.concurrent('a forwarder that cannot learn how far its feeds were lets go of the slot, and another one leads', async () => {
  const { source, own, proxy, through, subscriber, start } = await openScene('silent_lead');
  const first = await start('first', own.url);
  await first.live();
  const cutOff = await start('cut-off', through);
  await waitFor('it to stand by', async () => (await cutOff.list()).sources[0]?.state === 'standby', LIMIT_MS);
  proxy.holdAnswers();
  await first.kill('SIGKILL');
  const holder = async () =>
    (
      await source.query(
        `select application_name as name from pg_replication_slots s join pg_stat_activity a on a.pid = s.active_pid
         where slot_name = $1`,
        [source.slot],
      )
    ).rows[0]?.name;
  await waitFor('it to have the slot', async () => (await holder()) === 'cut-off collection', LIMIT_MS);
  const other = await start('other', own.url);
  await waitFor('the other to lead', async () => (await other.list()).sources[0]?.state === 'leading', LIMIT_MS);
  await source.write(100);
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
  await cutOff.kill('SIGTERM');
}, 90_000);
