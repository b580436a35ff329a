// Forwarding on a real broker, part by part, on one system: latency, the troubles of broker, slot, topic and forwarder,
// payments beside it, and catching up last, because its events have no orders. After the troubles the checker looks at everything with the read model; the
// topic is read back whole after each part that could hurt it.
import { type BenchFinding, found, promise, type Say } from './findings.ts';
import { payBeside } from './kafka-beside-payments.ts';
import { catchUp } from './kafka-catch-up.ts';
import { measureLatency } from './kafka-latency.ts';
import { killAndFreeze } from './kafka-outages.ts';
import {
  checkScene,
  type KafkaScene,
  onKafkaSystem,
  untilCaughtUp,
  untilTopicIsUpToDate,
  withoutQuery,
} from './kafka-scene.ts';
import { loseSlotAndTopic } from './kafka-slot.ts';
import { takeOver } from './kafka-take-over.ts';
import { readWithKcat } from './kcat.ts';
import { untilQuiet } from './scene.ts';
import { round } from './statistics.ts';
import { readTopic } from './topic.ts';

const QUIET_LIMIT_MS = 30_000;

export async function runForwarding(say: Say): Promise<boolean> {
  const startedAt = performance.now();
  return onKafkaSystem('forwarding', say, async (scene) => {
    const latency = await measureLatency(scene, say);
    const outages = await killAndFreeze(scene, say);
    const lost = await loseSlotAndTopic(scene, say);
    const taken = await takeOver(scene, say);
    await untilQuiet(scene.system.runFile, QUIET_LIMIT_MS);
    const caughtUpMs = await untilCaughtUp(scene);
    say('checking the invariants, and the topic against the journal …');
    const checked = await checkScene(scene, true);
    const afterOutages = await topicIsWhole(scene, 'after_outages', 'after all these troubles');
    const byKcat = readWithKcat(scene.kafka.bootstrap);

    await withoutQuery(scene);
    const beside = await payBeside(scene, say);
    const checkedBeside = await checkScene(scene, false);
    const caught = await catchUp(scene, say);
    await untilTopicIsUpToDate(scene);
    const inTheEnd = await topicIsWhole(scene, 'in_the_end', 'in the end');

    const violations = checkedBeside.results.flatMap(({ id, violations: texts }) =>
      texts.map((text) => `${id} ${text}`),
    );
    const minutes = (performance.now() - startedAt) / 60_000;
    return {
      findings: [
        ...latency,
        ...outages,
        ...lost,
        ...taken,
        found('caught_up_after_s', round(caughtUpMs / 1_000, 1), [
          'read model equals the journal',
          `${(caughtUpMs / 1_000).toFixed(1)} s after the last payment was decided`,
        ]),
        afterOutages,
        byKcat,
        ...beside,
        found(
          'violations_beside',
          violations.length,
          ['checker after those pairs', [`${violations.length} violations`, ...violations.slice(0, 2)].join('  ')],
          promise('none', violations.length === 0),
        ),
        ...caught,
        inTheEnd,
        found('minutes', round(minutes, 1), ['all this took', `${minutes.toFixed(1)} min`]),
      ],
      checked,
    };
  });
}

async function topicIsWhole({ system, kafka }: KafkaScene, key: string, when: string): Promise<BenchFinding> {
  const { records, events, repeats, faults } = await readTopic(kafka.bootstrap, system.runFile.databases.orders);
  return found(
    `topic_${key}`,
    { records, events, repeats: repeats.length, faults: faults.length },
    [
      `the topic ${when}`,
      [
        `${events} events in ${records} records, ${repeats.length} repeats, ${faults.length} faults`,
        ...faults.slice(0, 2),
      ].join('  '),
    ],
    promise('complete, gapless, in order', faults.length === 0),
  );
}
