// Why a change did not happen. All of them are recorded: in the audit, or on disk until the audit can be reached.

/** The change itself is not allowed. Nothing was changed. */
export class ChangeRefused extends Error {
  readonly code:
    | 'reason_required'
    | 'expiry'
    | 'never_blocked'
    | 'no_such_thing'
    | 'invalid'
    | 'not_allowed'
    | 'second_person';

  constructor(code: ChangeRefused['code'], message: string) {
    super(message);
    this.name = 'ChangeRefused';
    this.code = code;
  }
}

/** Whoever it is has not shown that they are that operator. Nothing about which part of it was wrong. */
export class SignInRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SignInRefused';
  }
}

/** Somebody changed the same thing meanwhile (HTTP 412). Nothing was changed. */
export class VersionConflict extends Error {
  readonly target: string;
  readonly seen: number;
  readonly current: number;

  constructor(target: string, seen: number, current: number) {
    super(`${target} is at version ${current}, and you had seen version ${seen}: look again before you change it`);
    this.name = 'VersionConflict';
    this.target = target;
    this.seen = seen;
    this.current = current;
  }
}

/** The control database did not answer. `maybeApplied`: it was lost after the change was sent, so look first. */
export class ControlUnavailable extends Error {
  readonly maybeApplied: boolean;

  constructor(maybeApplied: boolean, cause: unknown) {
    const what = maybeApplied ? 'it is not known whether the change was made' : 'nothing was changed';
    super(`the control database did not answer (${cause instanceof Error ? cause.message : String(cause)}); ${what}`, {
      cause,
    });
    this.name = 'ControlUnavailable';
    this.maybeApplied = maybeApplied;
  }
}
