// `ballast override …`: those in force, scheduled, ended; and ending one by its id.
import { channelTarget } from '@ballast/control';
import { type ExitCode, exitCode, UsedWrongly } from '../system/command.ts';
import { type Operator, table, tellOutcome, wordAt } from './operator.ts';

const MOST_ROWS = 10_000;

export async function override(operator: Operator): Promise<ExitCode> {
  const { store, words, number } = operator;
  const [action = 'list'] = words;
  switch (action) {
    case 'list': {
      const rows = await store.overrides(words[1] ?? null, number('limit') ?? 50);
      const columns = ['id', 'state', 'channel', 'operations', 'kind', 'setting', 'author', 'reason', 'expires_at'];
      table(
        columns.map((column) => column.toUpperCase()),
        rows.map((row) => columns.map((column) => row[column])),
      );
      return exitCode.done;
    }
    case 'end': {
      const id = wordAt(operator, 1, 'the override (ovr_…)');
      const found = (await store.overrides(null, MOST_ROWS)).find((row) => row['id'] === id);
      if (found === undefined) throw new UsedWrongly(`There is no override ${id}.`);
      const channel = String(found['channel']);
      const change = await operator.change(channelTarget(channel));
      return tellOutcome(`${channel}: ${id} ended`, await store.endOverride(channel, id, change));
    }
    default:
      throw new UsedWrongly(`override: there is no "${action}"; see npx ballast help`);
  }
}
