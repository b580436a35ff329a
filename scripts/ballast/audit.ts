// `ballast audit`, `ballast instances`, `ballast restored`.
import { type ExitCode, exitCode, say } from '../system/command.ts';
import { type Operator, table, tellOutcome } from './operator.ts';

export async function audit({ store, words, text, number, flag }: Operator): Promise<ExitCode> {
  if (flag('verify')) {
    const { rows, head, broken } = await store.verifyAudit(text('anchor'));
    say(broken === null ? `The chain is whole: ${rows} rows.` : `The chain is BROKEN: ${broken}.`);
    say(`Head: ${head}. Keep it elsewhere, and give it next time as --anchor.`);
    return broken === null ? exitCode.done : exitCode.checkFailed;
  }
  const entries = await store.audit(words[0] ?? null, number('limit') ?? 50);
  const columns = ['seq', 'at', 'outcome', 'version', 'action', 'target', 'author', 'reason', 'details'];
  table(
    columns.map((column) => column.toUpperCase()),
    entries.map((entry) => columns.map((column) => entry[column])),
  );
  return exitCode.done;
}

export async function instances({ store }: Operator): Promise<ExitCode> {
  const rows = await store.instances();
  table(
    ['NAME', 'SERVICE', 'PID', 'APPLIES', 'FROM', 'LAST HEARD', 'PROBLEM'],
    rows.map(({ name, service, pid, generation, appliedVersion, source, silentMs, problem }) => [
      name,
      service,
      pid,
      `${generation}.${appliedVersion}`,
      source,
      `${(silentMs / 1_000).toFixed(1)} s ago`,
      problem,
    ]),
  );
  return rows.every(({ problem }) => problem === null) ? exitCode.done : exitCode.checkFailed;
}

export async function restored(operator: Operator): Promise<ExitCode> {
  const change = await operator.change('control');
  return tellOutcome('restored: the generation is raised', await operator.store.declareRestored(change));
}
