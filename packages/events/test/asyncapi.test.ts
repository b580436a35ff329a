import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { asyncApi } from '../src/asyncapi.ts';
import { eventRecord, watermarkRecord } from '../src/kafka/record.ts';
import { newOrderId, orderEvent } from './support/events.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

test('the committed asyncapi.json is what the schemas say (vitest -u writes it anew)', async () => {
  await expect(`${JSON.stringify(asyncApi(version), null, 2)}\n`).toMatchFileSnapshot('../asyncapi.json');
});

test('every reference in it leads somewhere', () => {
  const document = asyncApi(version) as Record<string, unknown>;
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = '']) => path);
  expect(references.length).toBeGreaterThan(5);
  for (const path of references) {
    const found = path
      .split('/')
      .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document);
    expect(found, path).toBeDefined();
  }
});

test('the headers it names are those that are written', () => {
  const { components } = asyncApi(version) as {
    components: { messages: Record<string, { headers: { properties: object } }> };
  };
  const named = (message: string) => Object.keys(components.messages[message]?.headers.properties ?? {}).sort();
  const event = orderEvent(newOrderId(), 1, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
  const written = (headers: readonly (readonly [string, string])[]) => headers.map(([name]) => name).sort();
  expect(named('event')).toEqual(written(eventRecord({ ...event, data: '{}' }).headers));
  const mark = {
    kind: 'watermark',
    source: 'collection',
    generation: 1,
    node: 'main',
    value: 'now',
    run: 'run',
    after: null,
    since: null,
    replaced: [] as { generation: number; from: string }[],
  } as const;
  expect(named('watermark')).toEqual(written(watermarkRecord(mark).headers));
});
