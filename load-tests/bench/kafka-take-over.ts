// Two forwarders of one source: the second one waits for the slot, and takes over when the first is killed, or stands still.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { freePort } from '@ballast/database/embedded';
import { layoutOf, projectRoot } from '../../scripts/system/layout.ts';
import { serviceOf, writePrivate } from '../../scripts/system/run-file.ts';
import { type BenchFinding, found, type Say, target } from './findings.ts';
import { type KafkaScene, notApproved, pay, statusOf, untilTopicIsUpToDate } from './kafka-scene.ts';
import { round } from './statistics.ts';

const PAYMENTS_PER_SECOND = 100;
const CONNECTIONS = 200;
const RUN_MS = 30_000;
const REST_MS = 1_000;
const LOOK_MS = 20;
const LIMIT_MS = 30_000;
const MOST_AFTER_CRASH_MS = 2_000;
const MOST_AFTER_FREEZE_MS = 6_000;

export async function takeOver(scene: KafkaScene, say: Say): Promise<BenchFinding[]> {
  const { system } = scene;
  const second = await startSecond(scene);
  const first = () => serviceOf(system.runFile, 'forwarding').internal_url;
  const took = { crash: Number.NaN, freeze: Number.NaN };
  const arrival = { kind: 'open', perSecond: PAYMENTS_PER_SECOND, maxConnections: CONNECTIONS } as const;
  try {
    await untilState(scene, second.url, 'standby');
    const paid = await pay(scene, arrival, [0, RUN_MS], async () => {
      await pause(REST_MS);
      await system.kill('forwarding', 'SIGKILL');
      took.crash = await untilState(scene, second.url, 'leading');
      say(`the second forwarder leads ${round(took.crash)} ms after the first was killed`);
      await system.restart('forwarding');
      await untilState(scene, first(), 'standby');
      await pause(REST_MS);
      second.child.kill('SIGSTOP');
      took.freeze = await untilState(scene, first(), 'leading');
      say(`the first forwarder leads ${round(took.freeze)} ms after the second stood still`);
      second.child.kill('SIGCONT');
      await untilState(scene, second.url, 'standby');
    });
    await untilTopicIsUpToDate(scene);
    return [
      found(
        'take_over_after_crash_ms',
        round(took.crash),
        ['second forwarder, after a kill -9', `leads after ${round(took.crash)} ms`],
        target(`< ${MOST_AFTER_CRASH_MS / 1_000} s`, took.crash < MOST_AFTER_CRASH_MS),
      ),
      found(
        'take_over_after_freeze_ms',
        round(took.freeze),
        ['and after a freeze', `leads after ${round(took.freeze)} ms`],
        target(`< ${MOST_AFTER_FREEZE_MS / 1_000} s`, took.freeze < MOST_AFTER_FREEZE_MS),
      ),
      found(
        'take_over_not_approved',
        notApproved(paid),
        ['payments not approved meanwhile', `${notApproved(paid)} of ${JSON.stringify(paid.statuses)}`],
        target('none', notApproved(paid) === 0),
      ),
    ];
  } finally {
    await second.stop();
  }
}

/** With the first one's configuration, but for its name and its port. */
async function startSecond({ system }: KafkaScene) {
  const layout = layoutOf(system.runFile.data_dir);
  const config = JSON.parse(readFileSync(layout.configFile('forwarding'), 'utf8')) as { internal: { port: number } };
  const port = await freePort();
  const file = join(system.runFile.data_dir, 'config', 'forwarding-2.json');
  writePrivate(file, { ...config, instance: 'forwarding-2', internal: { ...config.internal, port } });
  const child = spawn(process.execPath, [join(projectRoot, 'services', 'forwarding', 'src', 'main.ts')], {
    env: { ...process.env, BALLAST_CONFIG: file },
    stdio: 'ignore',
  });
  return {
    child,
    url: `http://127.0.0.1:${port}`,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** Resolves to the ms that it took. */
async function untilState({ system }: KafkaScene, url: string, state: string): Promise<number> {
  const startedAt = performance.now();
  for (;;) {
    const waitedMs = performance.now() - startedAt;
    if ((await statusOf(system.runFile, url))?.sources[0]?.state === state) return waitedMs;
    if (waitedMs > LIMIT_MS) throw new Error(`${url} is not ${state} after ${LIMIT_MS / 1_000} s`);
    await pause(LOOK_MS);
  }
}
