// `npm run check`: the checker of load-tests/checker, against the running system or a stopped data folder.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startServer } from '@ballast/database/embedded';
import pg from 'pg';
import { type CheckInput, check } from '../load-tests/checker/check.ts';
import { printChecked } from '../load-tests/checker/print.ts';
import { exitCode, readOptions, runCommand, say } from './system/command.ts';
import { type Layout, layoutOf, type ServerName, serviceNames } from './system/layout.ts';
import { NotRunning, type RunFile, readCredentials, readRunFile, secretsOf } from './system/run-file.ts';

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
    const checked = await check(await inputOf(layout, databases, run, busy === null));
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
    const { rows } = await client.query<{ open: number }>(
      `select count(*)::int as open from orders where status in ('processing', 'in_doubt', 'reversing')`,
    );
    const open = rows[0]?.open ?? 0;
    return open === 0 ? null : `${open} orders are open`;
  } finally {
    await client.end();
  }
}

async function inputOf(
  layout: Layout,
  { orders, query, control }: Databases,
  run: RunFile | undefined,
  quiet: boolean,
): Promise<CheckInput> {
  const filesIn = (folder: string, suffix: string) =>
    existsSync(folder)
      ? readdirSync(folder)
          .filter((name) => name.endsWith(suffix))
          .map((name) => join(folder, name))
      : [];
  const credentials = existsSync(layout.credentials)
    ? readCredentials({ credentials_file: layout.credentials })
    : undefined;
  return {
    orders,
    query,
    control,
    controlCopies: serviceNames
      .map((name) => join(layout.stateDir(name), 'control.json'))
      .filter((file) => existsSync(file)),
    books: filesIn(layout.banksDir, '.jsonl'),
    histories: filesIn(layout.root, '.history.jsonl'),
    logs: filesIn(dirname(layout.logFile('collection')), '.log'),
    metrics: run === undefined ? [] : await metricsOf(run),
    secrets: credentials === undefined ? [] : secretsOf(credentials),
    quiet,
  };
}

/** Texts of /metrics of what runs; a service that is down has none. */
async function metricsOf(run: RunFile): Promise<string[]> {
  const { collection, query, forwarding } = run.services;
  const texts = [collection, query, forwarding].map(async (service) => {
    if (service === undefined) return [];
    const reply = await fetch(`${service.internal_url}/metrics`, { signal: AbortSignal.timeout(5_000) }).catch(
      () => null,
    );
    return reply?.ok === true ? [await reply.text()] : [];
  });
  return (await Promise.all(texts)).flat();
}
