// `.ballast/run.json`: a running system describes itself. Scripts, tests and benchmarks read it, never a guess.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { CannotRun } from './cannot-run.ts';
import { type Layout, layoutOf } from './layout.ts';

const pid = z.int().min(2);
const port = z.int().min(1).max(65_535);

const processSchema = z.strictObject({ pid, log_file: z.string(), config_file: z.string() });
const internalSchema = processSchema.extend({ internal_url: z.url() });
const publicSchema = internalSchema.extend({ url: z.url() });
const serverSchema = z.strictObject({ port, pid, data_dir: z.string(), log_file: z.string() });

const runFileSchema = z.strictObject({
  version: z.literal(1),
  started_at: z.iso.datetime(),
  data_dir: z.string(),
  /** `identity` tells this process from a later one with the same pid. */
  launcher: z.strictObject({ pid, identity: z.string() }),
  postgres: z.strictObject({ orders: serverSchema, main: serverSchema }),
  databases: z.strictObject({ orders: z.string(), forwarding: z.string(), query: z.string(), control: z.string() }),
  services: z.strictObject({
    'bank-simulator': processSchema.extend({ admin_url: z.url() }).optional(),
    collection: publicSchema.optional(),
    query: publicSchema.optional(),
    forwarding: internalSchema.optional(),
    traffic: processSchema.optional(),
  }),
  kafka: z.strictObject({ brokers: z.array(z.string()) }).optional(),
  banks: z.record(z.string(), z.strictObject({ url: z.url(), books_file: z.string() })),
  credentials_file: z.string(),
});
export type RunFile = z.infer<typeof runFileSchema>;

const terminalSchema = z.strictObject({
  terminal_id: z.string(),
  name: z.string(),
  livemode: z.boolean(),
  key_id: z.string(),
  secret: z.string(),
});
const merchantSchema = z.strictObject({
  merchant_id: z.string(),
  name: z.string(),
  currencies: z.array(z.string()),
  api_key: z.string(),
  terminals: z.array(terminalSchema),
});
const operatorSchema = z.strictObject({ name: z.string(), password: z.string() });
export const credentialsSchema = z.strictObject({
  admin_token: z.string(),
  merchants: z.array(merchantSchema),
  operators: z.array(operatorSchema).default([]),
});
export type Credentials = z.infer<typeof credentialsSchema>;
export type MerchantCredentials = z.infer<typeof merchantSchema>;
export type TerminalCredentials = z.infer<typeof terminalSchema>;

/** Nothing runs there, or what runs is not started yet. */
export class NotRunning extends CannotRun {
  constructor(dataDir: string) {
    super(`Nothing is running in ${dataDir}. Start it with: npm start`);
  }
}

/** Throws NotRunning when there is no run file. */
export function readRunFile(dataDir: string): RunFile {
  const text = readIfThere(layoutOf(dataDir).runFile);
  if (text === undefined) throw new NotRunning(dataDir);
  return runFileSchema.parse(JSON.parse(text));
}

export function readCredentials(run: Pick<RunFile, 'credentials_file'>): Credentials {
  return credentialsSchema.parse(JSON.parse(readFileSync(run.credentials_file, 'utf8')));
}

/** What must appear in no log, database, book or history. */
export function secretsOf({ admin_token, merchants, operators }: Credentials): string[] {
  const all = merchants.flatMap(({ api_key, terminals }) => [api_key, ...terminals.map(({ secret }) => secret)]);
  return [admin_token, ...all, ...operators.map(({ password }) => password)].filter((secret) => secret.length >= 8);
}

export function writeRunFile(layout: Layout, run: RunFile): void {
  writePrivate(layout.runFile, runFileSchema.parse(run));
}

export function removeRunFile(layout: Layout): void {
  rmSync(layout.runFile, { force: true });
}

/** The service's entry; throws a sentence when it was not started. */
export function serviceOf<N extends keyof RunFile['services']>(run: RunFile, name: N) {
  const service = run.services[name];
  if (service === undefined) throw new CannotRun(`${name} was not started in ${run.data_dir}`);
  return service as NonNullable<RunFile['services'][N]>;
}

/** Whole or not at all: a reader never sees half a file, also when we are killed here. */
export function writePrivate(file: string, content: unknown): void {
  const half = `${file}.${process.pid}`;
  writeFileSync(half, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  renameSync(half, file);
}

export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
