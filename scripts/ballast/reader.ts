// `ballast reader …`: who reads the journal, and the way out for a reader that is gone for good. What one has not read is kept
// for it; a retired one holds nothing any more. Collection records who did it and why.

import type { Authorization } from '@ballast/control';
import { adminCall } from '../system/admin-call.ts';
import { type ExitCode, exitCode, say, UsedWrongly } from '../system/command.ts';
import { readCredentials } from '../system/run-file.ts';
import { type Operator, table, wordAt } from './operator.ts';

interface Days {
  readonly held: readonly {
    readonly day: string;
    readonly due: string;
    readonly by: readonly { readonly who: string; readonly why: string }[];
  }[];
  readonly readers: readonly Readonly<Record<string, unknown>>[];
}

export async function reader(operator: Operator): Promise<ExitCode> {
  const [action = 'list'] = operator.words;
  switch (action) {
    case 'list': {
      const { held, readers } = (await call(operator, 'GET', '')) as Days;
      const columns = ['reader', 'covered_at', 'updated_at', 'retired_at'];
      table(
        ['READER', 'HAS EVERYTHING UNTIL', 'SAID AT', 'RETIRED AT'],
        readers.map((row) => columns.map((column) => row[column])),
      );
      for (const { day, due, by } of held)
        say(`${day} could have gone on ${due}; held by ${by.map(({ who, why }) => `${who} (${why})`).join(', ')}`);
      return exitCode.done;
    }
    case 'retire':
    case 'reinstate': {
      const name = wordAt(operator, 1, 'the reader, as "ballast reader list" has it');
      const reason = operator.text('reason') ?? '';
      if (reason === '') throw new UsedWrongly('Say why: --reason TEXT');
      const by = await authorized(operator, {
        action: `${action}_reader`,
        target: 'journal readers',
        details: { name },
      });
      const force = action === 'retire' ? { force: operator.flag('force') } : {};
      await call(operator, 'POST', `/${action}-reader`, { reader: name, by, reason, ...force });
      say(
        action === 'retire'
          ? `${name} holds no day any more`
          : `${name} is kept what it has not read, of what is there`,
      );
      return exitCode.done;
    }
    default:
      throw new UsedWrongly(`reader: there is no "${action}"; see npx ballast help`);
  }
}

/** What is done in another database is permitted, and in the audit, before it is done. Resolves to who it is. */
export async function authorized({ change, store }: Operator, asked: Authorization): Promise<string> {
  const signed = await change(asked.target);
  await store.authorize(asked, signed);
  return signed.by.name;
}

async function call({ run }: Operator, method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> {
  const url = run?.services.collection?.internal_url;
  if (run === undefined || url === undefined)
    throw new UsedWrongly('Collection is asked, on its internal face: use --data DIR of a running system.');
  const { admin_token: token } = readCredentials(run);
  return adminCall(method, `${url}/admin/days${path}`, { token, ...(body === undefined ? {} : { body }) });
}
