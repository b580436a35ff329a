// The schema of contracts and the checks of resilience are two programs, because neither may import the other. They must
// agree on every rule: what the control database takes, every policy takes, and the other way round.
import { type ChannelRules, channelRulesSchema, drillFaultSchema, drillStopSchema } from '@ballast/contracts';
import { checkRules, defaultRules, type PolicyRules } from '@ballast/resilience';
import { expect, test } from 'vitest';

const { version: _, ...rules } = defaultRules;

/** One is the other: both directions must compile. */
const toPolicy = (channelRules: ChannelRules): PolicyRules => ({ version: 1, ...channelRules });
const toChannel = ({ version: _version, ...policyRules }: PolicyRules): ChannelRules => policyRules;

const bases: [string, ChannelRules][] = [
  ['the built-in rules', toChannel(defaultRules)],
  [
    'automatic timeout, leaky bucket',
    {
      ...rules,
      timeout: { mode: 'auto', quantile: 'p95', initialMs: 1_000, leastMs: 100, mostMs: 5_000 },
      rate: { ...rules.rate, limit: { algorithm: 'leaky_bucket', perSecond: 10, maxWaiting: 5 } },
    },
  ],
  ['counter', { ...rules, rate: { ...rules.rate, limit: { algorithm: 'counter', calls: 10, windowMs: 1_000 } } }],
  ['paced', { ...rules, rate: { ...rules.rate, limit: { algorithm: 'paced', perSecond: 10, maxWaiting: 5 } } }],
];

const VALUES = [
  -1,
  -0.001,
  0,
  0.0001,
  0.001,
  0.01,
  0.5,
  0.99,
  1,
  1.01,
  1.5,
  2,
  3,
  4,
  10,
  11,
  99,
  100,
  101,
  200,
  201,
  999,
  1_000,
  5_000,
  9_999,
  10_000,
  10_001,
  60_000,
  60_001,
  100_000,
  100_001,
  300_000,
  300_001,
  600_000,
  600_001,
  1_000_000,
  1_000_001,
  3_600_000,
  3_600_001,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  'on',
  undefined,
];

function pathsOf(value: object, prefix: string[] = []): string[][] {
  return Object.entries(value).flatMap(([key, inner]) =>
    typeof inner === 'object' ? pathsOf(inner, [...prefix, key]) : [[...prefix, key]],
  );
}

function withValue(of: ChannelRules, path: readonly string[], value: unknown): ChannelRules {
  const copy = structuredClone(of);
  const last = path.at(-1) ?? '';
  const holder = path
    .slice(0, -1)
    .reduce((at, key) => at[key] as Record<string, unknown>, copy as Record<string, unknown>);
  holder[last] = value;
  return copy;
}

function policyTakes(candidate: ChannelRules): boolean {
  try {
    checkRules(toPolicy(candidate));
    return true;
  } catch {
    return false; // RangeError, the refusal that is asked for here
  }
}

test.each(bases)('schema and policy agree on %s, whatever value one of its fields is given', (_name, base) => {
  expect(channelRulesSchema.safeParse(base).success && policyTakes(base)).toBe(true);
  const disagreements = pathsOf(base).flatMap((path) =>
    VALUES.map((value) => ({ path: path.join('.'), value, candidate: withValue(base, path, value) }))
      .map(({ candidate, ...of }) => ({
        ...of,
        schema: channelRulesSchema.safeParse(candidate).success,
        policy: policyTakes(candidate),
      }))
      .filter(({ schema, policy }) => schema !== policy),
  );
  expect(disagreements).toEqual([]);
});

test('a field that nobody knows is refused', () => {
  expect(channelRulesSchema.safeParse({ ...rules, timeoutMs: 5 }).success).toBe(false);
});

test.each([
  [{ kind: 'latency', ms: 0 }],
  [{ kind: 'server_error', status: 404 }],
  [{ kind: 'trickle' }],
  [{ kind: 'fire' }],
])('no drill with %j', (fault) => expect(drillFaultSchema.safeParse(fault).success).toBe(false));

test('a drill has a stop condition that names how many calls prove anything', () => {
  expect(drillStopSchema.safeParse({ failureRate: 0.5, slowestMs: null, breakerOpens: true }).success).toBe(false);
});
