// What `npm start` prints when everything runs: what and where, what it is not for, and what to try.
import { relative } from 'node:path';
import { defaultDataDir } from './layout.ts';
import type { RunFile } from './run-file.ts';

export function printedBlock(run: RunFile): string {
  const { services, postgres, banks } = run;
  const fromHere = relative(process.cwd(), run.data_dir);
  const here = fromHere === '' || fromHere.startsWith('..') ? run.data_dir : fromHere;
  const data = run.data_dir === defaultDataDir ? '' : ` --data ${here}`;
  const words = (command: string, more = '') =>
    `npm run ${command}${data === '' && more === '' ? '' : ` --${data}${more}`}`;
  const rows: [string, string][] = [];
  if (services.collection !== undefined)
    rows.push(['terminals post to', `${services.collection.url}   documented at ${services.collection.url}/docs`]);
  if (services.query !== undefined)
    rows.push(['merchants look at', `${services.query.url}   documented at ${services.query.url}/docs`]);
  if (services.forwarding !== undefined)
    rows.push(['forwarding', `${services.forwarding.internal_url}/metrics   reads the order database's log`]);
  if (services['bank-simulator'] !== undefined)
    rows.push([
      'simulated banks',
      `${Object.entries(banks)
        .map(([name, bank]) => `${name} ${new URL(bank.url).port}`)
        .join(', ')}   switchboard ${services['bank-simulator'].admin_url}`,
    ]);
  rows.push([
    'PostgreSQL',
    `127.0.0.1:${postgres.orders.port} orders alone, 127.0.0.1:${postgres.main.port} everything else`,
  ]);
  if (run.kafka !== undefined) rows.push(['Kafka', `${run.kafka.brokers.join(', ')}   what forwarding publishes to`]);
  rows.push([
    'traffic',
    services.traffic === undefined ? 'none; npm start without --no-traffic has some' : 'about 2 payments a second',
  ]);
  return [
    '',
    'Ballast is running.',
    '',
    ...table(rows),
    '',
    ...box([
      'NOT FOR PRODUCTION: simulated banks, test cards only, loopback only,',
      'one machine without a standby, secrets in plain files of this folder.',
    ]),
    '',
    ...table([
      ['data, logs, secrets', `${here}  (run.json describes it, credentials.json has the keys)`],
      ['stop', 'Ctrl-C in this window'],
      ['start from nothing', words('reset')],
    ]),
    '',
    '  Try, in a second window:',
    ...table([
      [words('pay'), 'one signed payment: request, answer, time'],
      [words('pay', ' --twice'), 'the very same bytes twice: one order, one charge'],
      [words('break', ' bank_a'), 'one bank is gone: its channel opens, the others do not notice'],
      [words('status', ' --watch'), `one screen, every second; ${words('heal', ' bank_a')} brings it back`],
      [words('doctor'), 'looks at everything and says what to do'],
    ]),
    '',
  ].join('\n');
}

function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}   ${right}`);
}

function box(lines: readonly string[]): string[] {
  const width = Math.max(...lines.map((line) => line.length));
  const edge = '─'.repeat(width + 2);
  return [`  ┌${edge}┐`, ...lines.map((line) => `  │ ${line.padEnd(width)} │`), `  └${edge}┘`];
}
