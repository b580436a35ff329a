// Asks who-may.ts on behalf of a change, with the roles as they are now: whoever was disabled a moment ago changes nothing.
import type { Knex } from '@ballast/database';
import type { Change } from './change.ts';
import type { OverrideRequest } from './check-request.ts';
import { ChangeRefused } from './errors.ts';
import { mayBeOne, rolesOf } from './operators.sql.ts';
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
  if (second !== null && (await mayBeOne(trx, first, second)))
    throw new ChangeRefused('second_person', tooNear(first, second));
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

function tooNear(first: string, second: string): string {
  return `within a day one person has let both ${first} and ${second} in (or is one of them): somebody else has to confirm it`;
}

/** May they ask for it, if somebody else confirms? */
export async function permitToAsk(trx: Knex.Transaction, need: Need, first: string): Promise<void> {
  const role = (await rolesOf(trx, [first])).get(first);
  if (role === undefined) throw new ChangeRefused('not_allowed', `${first} is no operator any more`);
  const judgement = judge(need, { role, second: 'admin', breakGlass: false });
  if (judgement.kind === 'not_allowed') throw new ChangeRefused('not_allowed', judgement.why);
}

/** A channel that is left less is as good as shut. `inFlight` is each process's: five calls of half a second are ten a second. */
const leastOpen = { share: 0.1, perSecond: 10, inFlight: 5 };

/** What an override needs depends on what it does, to which channel, and when. */
export async function needOf(
  knex: Knex,
  { channel, operations, setting, startsInMs, lastsMs }: Required<OverrideRequest>,
): Promise<Need> {
  const does = doesWhat(setting);
  if (does === 'overrules') return 'overrule_breaker';
  if (does === 'leaves_open' || !operations.includes('pay')) return 'set_override';
  const asked = { channel, from: startsInMs, to: startsInMs + lastsMs, ...leastOpen };
  const { rows } = await knex.raw(isLastHealthySql, asked);
  return rows[0].is_last ? 'shut_last_channel' : 'set_override';
}

function doesWhat(setting: OverrideRequest['setting']): 'overrules' | 'shuts' | 'leaves_open' {
  const shutsWhere = (isSo: boolean) => (isSo ? 'shuts' : 'leaves_open');
  switch (setting.kind) {
    case 'forced_closed':
    case 'metrics_only':
      return 'overrules';
    case 'forced_open':
    case 'drain':
    case 'maintenance':
      return 'shuts';
    case 'percent_open':
      return shutsWhere(setting.share < leastOpen.share);
    case 'limit': {
      const { perSecond = Number.POSITIVE_INFINITY, maxInFlight = Number.POSITIVE_INFINITY } = setting;
      return shutsWhere(perSecond < leastOpen.perSecond || maxInFlight < leastOpen.inFlight);
    }
  }
}

/** One person asks for it, another confirms. */
export const takesTwo = (need: Need): boolean => 'second' in whoMay[need];
