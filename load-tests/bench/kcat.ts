// The topic through the eyes of kcat, a client nobody here wrote: keys, headers and order as documented (packages/events,
// asyncapi.json). It comes with Debian's package of that name; without it the benchmark says so.
import { spawnSync } from 'node:child_process';
import { ordersTopic } from '@ballast/events/kafka';
import { type BenchFinding, found, promise } from './findings.ts';

const RECORDS_A_PARTITION = 2_000;
const MOST_OUTPUT_BYTES = 256 * 1024 * 1024;
const required = ['ce_specversion', 'ce_id', 'ce_type', 'ce_source', 'ce_time', 'ce_generation', 'content-type'];
const ofEvents = ['ce_subject', 'ce_sequence', 'ce_merchantid', 'ce_livemode'];

export function readWithKcat(brokers: readonly string[]): BenchFinding {
  const read = { records: 0, faults: [] as string[] };
  for (let partition = 0; partition < ordersTopic.partitions; partition++) {
    const words = ['-C', '-q', '-e', '-b', brokers.join(','), '-t', ordersTopic.name, '-p', String(partition)];
    const ran = spawnSync('kcat', [...words, '-o', 'beginning', '-c', String(RECORDS_A_PARTITION), '-f', '%k\t%h\n'], {
      encoding: 'utf8',
      maxBuffer: MOST_OUTPUT_BYTES,
    });
    if (ran.error !== undefined || ran.status !== 0)
      return found('kcat', null, ['kcat', `not read: ${ran.error?.message ?? ran.stderr.trim()}`]);
    const lines = ran.stdout.split('\n').filter((line) => line !== '');
    read.records += lines.length;
    read.faults.push(...faultsOf(lines).map((fault) => `partition ${partition}: ${fault}`));
  }
  const { records, faults } = read;
  return found(
    'kcat',
    { records, faults: faults.length },
    ['read by kcat', [`${records} records, ${faults.length} faults`, ...faults.slice(0, 2)].join('  ')],
    promise('keys, headers, order', faults.length === 0 && records > 0),
  );
}

/** `key, tab, name=value,name=value…`: no value of ours has a comma. */
function faultsOf(lines: readonly string[]): string[] {
  const faults: string[] = [];
  const last = new Map<string, number>();
  for (const line of lines) {
    const [key = '', text = ''] = line.split('\t');
    const headers = new Map(text.split(',').map((pair) => [pair.slice(0, pair.indexOf('=')), pair] as const));
    const header = (name: string) => headers.get(name)?.slice(name.length + 1);
    const missing = [...required, ...(key === '' ? [] : ofEvents)].filter((name) => !headers.has(name));
    if (missing.length > 0) faults.push(`${key} lacks ${missing.join(', ')}`);
    if (key === '') continue; // a watermark: of the whole source
    const version = Number(header('ce_sequence'));
    if (header('ce_subject') !== key) faults.push(`${key} is about ${header('ce_subject')}`);
    if (header('ce_id') !== `${key}:${version}:${header('ce_generation')}`) faults.push(`${key} is ${header('ce_id')}`);
    const before = last.get(key) ?? 0;
    if (version > before + 1) faults.push(`${key}: version ${version} stands after ${before}`);
    last.set(key, Math.max(before, version));
  }
  return faults;
}
