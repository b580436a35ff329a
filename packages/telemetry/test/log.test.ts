import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { childTraceparent, scrub } from '../src/index.ts';

describe('scrub', () => {
  test.each([
    '4242424242424242',
    '4242 4242 4242 4242',
    '4242-4242-4242-4242',
    '4242.4242.4242.4242',
    '4242_4242_4242_4242',
    '378282246310005',
    '4242 4242 4242 4242 10 EUR',
    '17 4242424242424242',
    'pan=5555555555554444;',
  ])('removes the card number in %j', (text) => {
    expect(scrub(`before ${text} after`)).toContain('[card number removed]');
    expect(scrub(text)).not.toMatch(/\d{8}/);
  });

  test.each([
    '1716633600000',
    '2026-11-24T17:21:35.325Z',
    'ord_01a20e93-c65c-77b8-a1ad-2b51cf49044b',
    'ord_01a20e93-4242-7006-8424-2b51cf49044b', // its groups in the middle pass the Luhn check
    '192.168.100.103',
    '4242424242424241',
    '42',
  ])('leaves %j', (text) => {
    expect(scrub(text)).toBe(text);
  });
});

describe('a log line', () => {
  test('holds no secret, by the name of its field or by its shape', () => {
    const script = `
      const { createLogger } = await import('./packages/telemetry/src/index.ts');
      const log = createLogger({ service: 'test', level: 'info' });
      log.info({ card: { number: 'n-1', cvv: 'c-1' }, authorization: 'a-1', order_id: 'o-1' }, 'paid with 4242424242424242');
      log.error({ err: new Error('bank said 4000 0000 0000 0002') }, 'no');`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatchObject({ level: 'info', service: 'test', order_id: 'o-1' });
    expect(stdout).not.toMatch(/n-1|c-1|a-1|4242|0002/);
  });
});

describe('a trace', () => {
  const received = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

  test('goes on with a span of our own', () => {
    const child = childTraceparent(received);
    expect(child.slice(0, 36)).toBe(received.slice(0, 36));
    expect(child).not.toBe(received);
  });

  test.each([
    undefined,
    '',
    'x',
    `${received}x`,
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    `00-${'0'.repeat(16)}4242424242424242-b7ad6b7169203331-01`,
  ])('begins anew for %j', (text) => {
    expect(childTraceparent(text)).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(childTraceparent(text)).not.toContain('0'.repeat(16));
  });
});
