// A process that follows, and prints a line for each change. Killed by the tests, never asked to stop.
import { followControl } from '../../src/index.ts';

const { url, instance, stateDir } = JSON.parse(process.argv[2] ?? '{}') as Record<
  'url' | 'instance' | 'stateDir',
  string
>;

await followControl({
  url,
  service: 'test',
  instance,
  stateDir,
  log: { info: () => undefined, warn: () => undefined },
  onChange: ({ source, version, overrides }) => {
    const gates = overrides.map(({ channel, setting }) => `${channel} ${setting.kind}`);
    process.stdout.write(`${JSON.stringify({ source, version, gates })}\n`);
  },
});
