// Asks who-may.ts on behalf of a change, with the roles as they are now: whoever was disabled a moment ago changes nothing.
import type { Knex } from '@ballast/database';
import type { Change } from './change.ts';
import type { OverrideRequest } from './check-request.ts';
import { ChangeRefused } from './errors.ts';
import { rolesOf } from './operators.sql.ts';
import { isLastHealthySql } from './reads.sql.ts';
import { judge, type Need, whoMay } from './who-may.ts';

/** Who stands behind a change: one person, or the first of two and the one who confirms. */
export interface Askers {
  readonly first: string;
  readonly second: string | null;
  readonly breakGlass: boolean;
}

export function alone({ by, breakGlass = false }: Change): Askers {
  return { first: by.name, second: null, breakGlass };
}

/** Under the head's lock. Resolves to whether the glass was broken; rejects with ChangeRefused. */
export async function permit(
  trx: Knex.Transaction,
  need: Need,
  { first, second, breakGlass }: Askers,
): Promise<boolean> {
  const roles = await rolesOf(trx, second === null ? [first] : [first, second]);
  const role = roles.get(first);
  if (role === undefined) throw new ChangeRefused('not_allowed', `${first} is no operator any more`);
  const judgement = judge(need, { role, second: second === null ? null : (roles.get(second) ?? null), breakGlass });
  switch (judgement.kind) {
    case 'allowed':
      return false;
    case 'glass_broken':
      return true;
    case 'not_allowed':
    case 'second_person':
      throw new ChangeRefused(judgement.kind, judgement.why);
  }
}

/** May they ask for it, if somebody else confirms? */
export async function permitToAsk(trx: Knex.Transaction, need: Need, first: string): Promise<void> {
  const role = (await rolesOf(trx, [first])).get(first);
  if (role === undefined) throw new ChangeRefused('not_allowed', `${first} is no operator any more`);
  const judgement = judge(need, { role, second: 'admin', breakGlass: false });
  if (judgement.kind === 'not_allowed') throw new ChangeRefused('not_allowed', judgement.why);
}

/** What an override needs depends on what it does, and to which channel. */
export async function needOf(knex: Knex, { channel, operations, setting }: OverrideRequest): Promise<Need> {
  if (setting.kind === 'forced_closed') return 'force_closed';
  if (!shuts(setting) || !operations.includes('pay')) return 'set_override';
  const { rows } = await knex.raw(isLastHealthySql, [channel]);
  return rows[0].is_last ? 'shut_last_channel' : 'set_override';
}

function shuts(setting: OverrideRequest['setting']): boolean {
  switch (setting.kind) {
    case 'forced_open':
    case 'drain':
    case 'maintenance':
      return true;
    case 'percent_open':
      return setting.share === 0;
    case 'forced_closed':
    case 'metrics_only':
    case 'limit':
      return false;
  }
}

/** One person asks for it, another confirms. */
export const takesTwo = (need: Need): boolean => 'second' in whoMay[need];
