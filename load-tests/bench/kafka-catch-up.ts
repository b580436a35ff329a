// Half a million events wait in the journal; forwarding is started. By the topic's own count: from the first record that
// comes until as many as wait are there.
import { setTimeout as pause } from 'node:timers/promises';
import { serviceOf } from '../../scripts/system/run-file.ts';
import { fillJournal } from './bulk-journal.ts';
import { type BenchFinding, found, type Say, target } from './findings.ts';
import { type KafkaScene, openTopicCount, untilTopicIsUpToDate } from './kafka-scene.ts';
import { round } from './statistics.ts';
import { coresText, watchUsage } from './usage.ts';

const EVENTS = 500_000;
const LOOK_MS = 100;
const LIMIT_MS = 90_000;
const LEAST_PER_SECOND = 40_000;
const MOST_MEGABYTES = 256;

export async function catchUp(scene: KafkaScene, say: Say): Promise<BenchFinding[]> {
  const { system, kafka } = scene;
  await untilTopicIsUpToDate(scene);
  await system.kill('forwarding', 'SIGTERM');
  say(`${EVENTS} events go into the journal while forwarding is down …`);
  const waiting = await fillJournal(system.runFile.databases.orders, EVENTS);
  const topic = await openTopicCount(scene);
  const before = await topic.count();
  say('forwarding is started …');
  const startedAt = performance.now();
  await system.restart('forwarding');
  const { postgres } = system.runFile;
  const usage = watchUsage(
    { forwarding: serviceOf(system.runFile, 'forwarding').pid, kafka: kafka.pid(0) },
    { orders: postgres.orders.pid, main: postgres.main.pid },
  );
  let firstAt: number | undefined;
  let firstCount = before;
  let count = before;
  while (count < before + waiting) {
    if (performance.now() - startedAt > LIMIT_MS) break; // it is told, with what has come by then
    await pause(LOOK_MS);
    count = await topic.count();
    if (firstAt === undefined && count > before) {
      firstAt = performance.now();
      firstCount = count;
    }
  }
  const now = performance.now();
  const { cores, peakMegabytes } = usage.end();
  await topic.close();
  const all = count >= before + waiting;
  const perSecond = (count - firstCount) / ((now - (firstAt ?? now)) / 1_000);
  const seconds = (now - startedAt) / 1_000;
  const megabytes = peakMegabytes['forwarding'] ?? Number.NaN;
  return [
    found(
      'catch_up_per_second',
      round(perSecond),
      [
        'catching up',
        `${Math.round(perSecond)} events/s; ${count - before} ${all ? '' : `of ${waiting} `}within ${seconds.toFixed(1)} s of forwarding's start`,
      ],
      target(`≥ ${LEAST_PER_SECOND}/s`, all && perSecond >= LEAST_PER_SECOND),
    ),
    found(
      'catch_up_megabytes',
      round(megabytes),
      ["forwarding's memory, at most", `${megabytes.toFixed(0)} MB`],
      target(`< ${MOST_MEGABYTES} MB`, megabytes < MOST_MEGABYTES),
    ),
    found('catch_up_cores', cores, ['cores meanwhile', coresText(cores)]),
  ];
}
