import { describe, expect, test } from 'vitest';
import { createInbound, createSemaphore, type InboundRefusal, type RateRules } from '../src/index.ts';
import { settled } from './support/calls.ts';

const limit = (burst: number, mode: RateRules['mode'] = 'enforce'): RateRules => ({
  mode,
  scope: 'cluster',
  limit: { algorithm: 'token_bucket', perSecond: 1, burst },
  warmUpMs: 0,
});
const request = { interface: 'payments', merchant: 'mer_1', terminal: 'trm_1' };

function inboundOf(options: Parameters<typeof createInbound>[0] = {}) {
  const told: [kind: string, rule: string][] = [];
  const inbound = createInbound({ now: () => 0, listener: (kind, { rule }) => told.push([kind, rule]), ...options });
  const ask = (of = request): InboundRefusal | null => {
    const admission = inbound.admit(of);
    if (admission.kind === 'refused') return admission.refusal;
    admission.leave();
    return null;
  };
  return { inbound, ask, told };
}

describe('the way in', () => {
  test('passes everything while there are no rules', () => {
    const { ask } = inboundOf();
    for (let i = 0; i < 1_000; i++) expect(ask()).toBeNull();
  });

  test.each([
    ['terminal', { ...request, terminal: 'trm_2' }],
    ['merchant', { ...request, merchant: 'mer_2' }],
    ['interface_payments', { ...request, interface: 'lookup' }],
  ])('a limit per %s stops that one, says so, and nobody else', (name, other) => {
    const { inbound, ask } = inboundOf();
    inbound.applyLimiter(name, 3, limit(2));
    expect([ask(), ask()]).toEqual([null, null]);
    expect(ask()).toMatchObject({ rule: name, rulesVersion: 3, retryAfterMs: 1_000, numbers: { perSecond: 1 } });
    expect(ask(other)).toBeNull();
  });

  test('a refusal gives back what the other limits had given', () => {
    const { inbound, ask } = inboundOf();
    inbound.applyLimiter('merchant', 1, limit(2));
    inbound.applyLimiter('terminal', 1, limit(1));
    expect(ask()).toBeNull();
    for (let i = 0; i < 10; i++) expect(ask()).toMatchObject({ rule: 'terminal' });
    expect(ask({ ...request, terminal: 'trm_2' })).toBeNull();
  });

  test('a limit can only alarm, be off, go away, and have a share, at once', () => {
    const { inbound, ask, told } = inboundOf();
    inbound.applyLimiter('terminal', 1, limit(1));
    ask();
    expect(ask()).not.toBeNull();
    inbound.applyLimiter('terminal', 2, limit(1, 'alarm_only'));
    expect(ask()).toBeNull();
    expect(told.at(-1)).toEqual(['would_refuse', 'terminal']);
    inbound.applyLimiter('terminal', 3, limit(1, 'off'));
    expect(ask()).toBeNull();
    inbound.applyLimiter('terminal', 4, limit(1));
    inbound.setShare('terminal', 0);
    expect(ask({ ...request, terminal: 'trm_9' })).toMatchObject({ rule: 'terminal', rulesVersion: 4 });
    inbound.applyLimiter('terminal', 5, null);
    expect(ask()).toBeNull();
  });

  test('a wrong limit is refused by name, and the one in force stays', () => {
    const { inbound, ask } = inboundOf();
    inbound.applyLimiter('terminal', 1, limit(1));
    expect(() => inbound.applyLimiter('terminal', 2, limit(0))).toThrow('terminal.limit.burst must be 1 to');
    ask();
    expect(ask()).toMatchObject({ rulesVersion: 1 });
  });

  test('more requests at once than the process may serve are refused before they cost anything', () => {
    const { inbound } = inboundOf({ overload: { maxInFlight: 2, lagFromMs: 100, lagToMs: 200 } });
    const [first] = [inbound.admit(request), inbound.admit(request)];
    expect(inbound.admit(request)).toMatchObject({ kind: 'refused', refusal: { rule: 'overload' } });
    if (first?.kind === 'admitted') first.leave();
    expect(inbound.inFlight).toBe(1);
    expect(inbound.admit(request)).toMatchObject({ kind: 'admitted' });
  });

  test.each([
    [100, 0],
    [125, 25],
    [150, 50],
    [200, 100],
    [5_000, 100],
  ])('a loop that is %d ms late sheds %d %% of new requests, and nothing essential', (lag, percent) => {
    const { inbound, ask } = inboundOf({
      lagMs: () => lag,
      overload: { maxInFlight: 1_000, lagFromMs: 100, lagToMs: 200 },
    });
    const refused = Array.from({ length: 100 }, () => ask()).filter((refusal) => refusal !== null);
    expect(refused).toHaveLength(percent);
    expect(inbound.admit({ ...request, essential: true })).toMatchObject({ kind: 'admitted' });
  });
});

describe('a semaphore', () => {
  test('lets so much work run at once, keeps a bounded line, and refuses the rest', async () => {
    const semaphore = createSemaphore({ maxInFlight: 1, maxWaiting: 1 }, () => 0);
    const ends: (() => void)[] = [];
    const work = () => new Promise<string>((resolve) => ends.push(() => resolve('done')));
    const [first, second] = [semaphore.run(work, 1_000), semaphore.run(work, 1_000)];
    expect(await semaphore.run(work, 1_000)).toMatchObject({
      kind: 'refused',
      reason: 'no_place',
      numbers: { in_flight: 1, waiting: 1 },
    });
    ends.shift()?.();
    expect(await first).toEqual({ kind: 'done', value: 'done' });
    await settled();
    ends.shift()?.();
    expect(await second).toEqual({ kind: 'done', value: 'done' });
    expect(semaphore.inFlight).toBe(0);
  });

  test('gives its place back when the work throws, and does not begin what is too late', async () => {
    const semaphore = createSemaphore({ maxInFlight: 1, maxWaiting: 0 }, () => 100);
    const work = () => {
      throw new Error('bug');
    };
    await expect(semaphore.run(work, 200)).rejects.toThrow('bug');
    expect(await semaphore.run(() => 1, 100)).toMatchObject({ kind: 'refused', reason: 'deadline' });
    expect(await semaphore.run(() => 1, 200)).toEqual({ kind: 'done', value: 1 });
  });
});
