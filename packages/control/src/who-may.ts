// Who may do what: the one table. Everything that changes the control database asks it, inside the change's own transaction,
// and every "no" is audited.

/** Each may do what the ones before it may. */
export const roles = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof roles)[number];

interface Permission {
  /** The least role of whoever asks for it. */
  readonly role: Role;
  /** It takes a second person, of this role or a higher one, who signs in on their own. */
  readonly second?: Role;
  /** Whoever has this role may do it alone and at once by breaking the glass: a reason, the audit, and an alarm. */
  readonly breakGlass?: Role;
}

export const whoMay = {
  set_override: { role: 'operator' },
  /** Forced closed, or only measuring: whatever the breaker sees, everything goes to the bank. */
  overrule_breaker: { role: 'admin', second: 'operator', breakGlass: 'operator' },
  /** After it no channel takes payments any more, or hardly any. */
  shut_last_channel: { role: 'operator', second: 'operator', breakGlass: 'operator' },
  end_override: { role: 'operator' },
  nudge: { role: 'operator' },
  drill_coloured: { role: 'operator' },
  /** Faults on customers' own payments. */
  drill_all_traffic: { role: 'admin' },
  stop_drill: { role: 'operator' },
  /** Unlike an override, rules do not end by themselves. */
  put_rules: { role: 'admin' },
  declare_restored: { role: 'admin' },
  /** A reader of the journal retired, a history declared replaced: what cannot be taken back. Done elsewhere, decided here. */
  let_go_of_history: { role: 'admin' },
  manage_operators: { role: 'admin' },
  own_password: { role: 'viewer' },
} as const satisfies Record<string, Permission>;
export type Need = keyof typeof whoMay;

export interface Asking {
  readonly role: Role;
  /** Of the second person; null: nobody else was there. */
  readonly second: Role | null;
  readonly breakGlass: boolean;
}

export type Judgement =
  | { readonly kind: 'allowed' }
  /** Allowed, and loud. */
  | { readonly kind: 'glass_broken' }
  | { readonly kind: 'not_allowed'; readonly why: string }
  | { readonly kind: 'second_person'; readonly why: string };

export function judge(need: Need, { role, second, breakGlass }: Asking): Judgement {
  const permission: Permission = whoMay[need];
  const has = (held: Role | null, least: Role) => held !== null && roles.indexOf(held) >= roles.indexOf(least);
  const alone = permission.second === undefined;
  if (has(role, permission.role) && (alone || has(second, permission.second))) return { kind: 'allowed' };
  if (breakGlass && permission.breakGlass !== undefined && has(role, permission.breakGlass))
    return { kind: 'glass_broken' };
  const glass = permission.breakGlass === undefined ? '' : ', or break-glass';
  if (!has(role, permission.role))
    return { kind: 'not_allowed', why: `${need} needs the role ${permission.role}${glass}; this is a ${role}` };
  return { kind: 'second_person', why: `${need} takes a second person, a ${permission.second} at least${glass}` };
}
