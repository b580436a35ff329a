// The whole system on a real broker: events reach the merchant through Kafka, directly while the broker is dead, and
// through Kafka again afterwards; payments do not notice.
import { waitFor } from '@ballast/database/testing';
import { describeKafka } from '@ballast/infra-kafka/testing';
import { expect, test } from 'vitest';
import { readCredentials } from '../../scripts/system/run-file.ts';
import { expectInvariants, expectReadModelEqualsJournal, quiet } from './support/settled.ts';
import { systemOfTheseTests } from './support/system.ts';

describeKafka('the whole system on a real broker', () => {
  const under = systemOfTheseTests('kafka', { kafka: true });

  async function route(): Promise<string> {
    const { runFile } = under.system;
    const reply = await fetch(`${runFile.services.forwarding?.internal_url}/admin/subscribers`, {
      headers: { authorization: `Bearer ${readCredentials(runFile).admin_token}` },
    });
    const { sources } = (await reply.json()) as { sources: { route: string }[] };
    return sources[0]?.route ?? 'none';
  }

  test('a broker killed under traffic and started again: nothing is lost, reordered, or noticed', {
    timeout: 180_000,
  }, async () => {
    const { system } = under;
    await waitFor('the Kafka route', async () => (await route()) === 'kafka', 60_000);
    const traffic = under.tills.sell();
    const served = (more: number) => {
      const before = traffic.answered();
      return waitFor(`${more} more payments`, () => traffic.answered() >= before + more, 30_000);
    };
    try {
      await served(30);
      await system.kill('kafka', 'SIGKILL');
      await served(30);
      await waitFor('the direct route', async () => (await route()) === 'direct', 30_000);
      await served(30);
      await system.restart('kafka');
      await waitFor('the Kafka route again', async () => (await route()) === 'kafka', 60_000);
      await served(30);
    } finally {
      await traffic.stop();
    }
    expect(traffic.unknown()).toBe(0);
    await quiet(system.runFile);
    await expectReadModelEqualsJournal(system.runFile);
    await expectInvariants(system.runFile, under.tills.historyFile);
  });

  test('a rebuild from zero while Kafka serves brings every order back', { timeout: 120_000 }, async () => {
    const { runFile } = under.system;
    await waitFor('the Kafka route', async () => (await route()) === 'kafka', 60_000);
    const headers = { authorization: `Bearer ${readCredentials(runFile).admin_token}` };
    const rebuild = `${runFile.services.query?.internal_url}/admin/rebuild`;
    const asked = await fetch(rebuild, { method: 'POST', headers });
    expect(asked.status).toBe(202);
    await asked.body?.cancel();
    await waitFor(
      'the rebuild',
      async () => ((await (await fetch(rebuild, { headers })).json()) as { state: string }).state === 'done',
      90_000,
    );
    await expectReadModelEqualsJournal(runFile);
  });
});
