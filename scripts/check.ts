// `npm run check`: the checker of load-tests/checker, against the running system or a stopped data folder.
import { existsSync } from 'node:fs';
import { startServer } from '@ballast/database/embedded';
import pg from 'pg';
import { check } from '../load-tests/checker/check.ts';
import { printChecked } from '../load-tests/checker/print.ts';
import { openOrders } from '../load-tests/checker/quiet.ts';
import { checkInputOf, filesIn, metricsOf } from './system/check-input.ts';
import { exitCode, readOptions, runCommand, say } from './system/command.ts';
import { type Layout, layoutOf, type ServerName } from './system/layout.ts';
import { NotRunning, type RunFile, readRunFile } from './system/run-file.ts';

const usage = 'Usage: npm run check [-- [--data DIR] [--quiet]]';

await runCommand(async () => {
  const { dataDir, values } = readOptions({ quiet: { type: 'boolean' } }, usage);
  const layout = layoutOf(dataDir);
  const run = runningIn(dataDir);
  const { databases, stop } =
    run === undefined ? await startStopped(layout, dataDir) : { databases: run.databases, stop: noStop };
  try {
    const busy = values.quiet === true ? null : await whyNotQuiet(databases.orders, run);
    if (busy !== null) say(`What holds only after quiet is left out: ${busy}. --quiet evaluates it all the same.`);
    const { collection, query, forwarding } = run?.services ?? {};
    // A service that is down has none.
    const metrics = [collection, query, forwarding].map((service) =>
      service === undefined ? [] : metricsOf([service.internal_url]).catch(() => []),
    );
    const input = checkInputOf(
      { data_dir: dataDir, databases },
      {
        histories: filesIn(layout.root, '.history.jsonl'),
        metrics: (await Promise.all(metrics)).flat(),
        quiet: busy === null,
      },
    );
    const checked = await check(input);
    return printChecked(checked, say) ? exitCode.done : exitCode.checkFailed;
  } finally {
    await stop();
  }
});

type Databases = Readonly<Record<'orders' | 'query' | 'control', string>>;

function runningIn(dataDir: string): RunFile | undefined {
  try {
    return readRunFile(dataDir);
  } catch (error) {
    if (error instanceof NotRunning) return undefined;
    throw error;
  }
}

async function noStop(): Promise<void> {}

/** Only the servers; no service runs, so nothing moves. A server that is there already stays when we go. */
async function startStopped(layout: Layout, dataDir: string): Promise<{ databases: Databases; stop(): Promise<void> }> {
  if (!existsSync(layout.postgresDir('orders')) && !existsSync(layout.installation)) throw new NotRunning(dataDir);
  say(`Nothing is running in ${layout.root}; starting its PostgreSQL servers to read them.`);
  const start = (name: ServerName) =>
    startServer({ dataDir: layout.postgresDir(name), logFile: layout.logFile(`postgres-${name}`) });
  const [orders, main] = [await start('orders'), await start('main')];
  return {
    databases: { orders: orders.url('orders'), query: main.url('query'), control: main.url('control') },
    stop: async () => {
      for (const server of [orders, main]) if (!server.adopted) await server.stop();
    },
  };
}

/** Null: nothing is on its way. */
async function whyNotQuiet(url: string, run: RunFile | undefined): Promise<string | null> {
  if (run?.services.traffic !== undefined) return 'traffic is running';
  const client = new pg.Client(url);
  await client.connect();
  try {
    const open = await openOrders(client);
    return open === 0 ? null : `${open} orders are open`;
  } finally {
    await client.end();
  }
}
