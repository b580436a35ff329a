// The control database, brought up to date before anybody follows it, with the demo's operators. The demo gets rules of its own: its traffic is so
// gentle that a breaker with the built-in minimum of calls would never have seen enough to open.
import { channelTarget, migrateControl, openControlStore, ruleTargetName } from '@ballast/control';
import { defaultRules } from '@ballast/resilience';
import { ensureDemoOperators } from './demo-operators.ts';

const DEMO_MINIMUM_CALLS = 5;
const DEMO_WINDOW_MS = 20_000;

export interface ControlDatabase {
  readonly url: string;
  /** Those that get the demo's rules, where nobody has put others. */
  readonly channels: readonly string[];
  readonly credentialsFile: string;
  readonly adminToken: string;
}

export async function openControlDatabase({
  url,
  channels,
  credentialsFile,
  adminToken,
}: ControlDatabase): Promise<void> {
  await migrateControl(url);
  const { version: _, ...rules } = defaultRules;
  const breaker = { ...rules.breaker, minimumCalls: DEMO_MINIMUM_CALLS, windowMs: DEMO_WINDOW_MS };
  const store = openControlStore({ url });
  try {
    const by = await ensureDemoOperators(store, credentialsFile, adminToken);
    for (const channel of channels) {
      const target = { kind: 'channel', channel, operation: 'pay' } as const;
      if ((await store.rules(ruleTargetName(target), 1)).length > 0) continue;
      await store.putRules(
        target,
        { ...rules, breaker },
        {
          by,
          reason: "the demo's traffic is gentle: five calls must be enough to judge a bank",
          seen: await store.versionOf(channelTarget(channel)),
        },
      );
    }
  } finally {
    await store.close();
  }
}
