// A service's /metrics, read for people: samples by name and labels.
import { request } from 'undici';

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LIMIT_MS = 3_000;

export async function readMetrics(internalUrl: string): Promise<Sample[]> {
  const reply = await request(`${internalUrl}/metrics`, { signal: AbortSignal.timeout(LIMIT_MS) });
  const text = await reply.body.text();
  return text
    .split('\n')
    .map((line) => /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/i.exec(line))
    .filter((found) => found !== null)
    .map(([, name = '', labels = '', value]) => ({ name, labels: labelsOf(labels), value: Number(value) }));
}

function labelsOf(text: string): Record<string, string> {
  return Object.fromEntries(
    [...text.matchAll(/([a-z_][a-z0-9_]*)="((?:[^"\\]|\\.)*)"/gi)].map(([, name = '', value = '']) => [name, value]),
  );
}

/** The sum over the samples of that name whose labels are these; undefined when there is none. */
export function sumOf(samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>> = {}) {
  const fitting = samples.filter(
    (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  );
  return fitting.length === 0 ? undefined : fitting.reduce((sum, { value }) => sum + value, 0);
}
