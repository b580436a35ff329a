// What the checker is shown of an installation, whether it runs or is stopped: all that there is.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CheckInput } from '../../load-tests/checker/check.ts';
import { layoutOf, serviceNames } from './layout.ts';
import { readCredentials, secretsOf } from './run-file.ts';

const METRICS_LIMIT_MS = 5_000;

export interface Checkable {
  readonly data_dir: string;
  /** Without query, what stands on the read model is left out. */
  readonly databases: { readonly orders: string; readonly query?: string; readonly control: string };
}

export interface Circumstances {
  readonly histories: readonly string[];
  /** Texts of /metrics. */
  readonly metrics: readonly string[];
  /** Nothing is on its way. */
  readonly quiet: boolean;
}

export function checkInputOf({ data_dir, databases }: Checkable, circumstances: Circumstances): CheckInput {
  const { orders, query, control } = databases;
  const layout = layoutOf(data_dir);
  const hasCredentials = existsSync(layout.credentials); // before its first start it has none
  return {
    orders,
    ...(query === undefined ? {} : { query }),
    control,
    controlCopies: serviceNames
      .map((name) => join(layout.stateDir(name), 'control.json'))
      .filter((file) => existsSync(file)),
    books: filesIn(layout.banksDir, '.jsonl'),
    logs: filesIn(layout.logs, '.log'),
    secrets: hasCredentials ? secretsOf(readCredentials({ credentials_file: layout.credentials })) : [],
    ...circumstances,
  };
}

export function filesIn(folder: string, suffix: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(suffix))
    .map((name) => join(folder, name));
}

/** Rejects when one of these services does not answer. */
export async function metricsOf(internalUrls: readonly string[]): Promise<string[]> {
  const replies = await Promise.all(
    internalUrls.map((url) => fetch(`${url}/metrics`, { signal: AbortSignal.timeout(METRICS_LIMIT_MS) })),
  );
  return Promise.all(replies.map((reply) => reply.text()));
}
