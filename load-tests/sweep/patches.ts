// What the sweep changes in the sources of the process under test, on their way into it (hook.ts): a quicker clock always,
// and one planted fault where a scenario asks for one. Nothing of it is in the production code. A text that is not found
// there stops the process: a patch can never miss silently.

export interface Patch {
  /** End of the file's path. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const payments = 'services/collection/src/payments';

/** Minutes become seconds. */
export const quickClock: readonly Patch[] = [
  { file: `${payments}/payments.sql.ts`, from: 'APPROVE_GRACE_MS = 60_000', to: 'APPROVE_GRACE_MS = 1_500' },
  { file: `${payments}/payments.sql.ts`, from: 'LEASE_MARGIN_MS = 5_000', to: 'LEASE_MARGIN_MS = 700' },
  { file: `${payments}/payments.sql.ts`, from: 'FIRST_INQUIRY_MS = 1_000', to: 'FIRST_INQUIRY_MS = 200' },
  { file: `${payments}/resolving.ts`, from: 'callMs: 10_000', to: 'callMs: 900' },
  { file: `${payments}/resolving.ts`, from: 'leaseMarginMs: 5_000', to: 'leaseMarginMs: 500' },
  { file: `${payments}/resolving.ts`, from: 'firstDelayMs: 1_000', to: 'firstDelayMs: 100' },
  { file: `${payments}/resolving.ts`, from: 'longestDelayMs: 15_000', to: 'longestDelayMs: 400' },
  { file: `${payments}/resolving.ts`, from: 'reversalsBeforePerson: 40', to: 'reversalsBeforePerson: 12' },
  { file: 'services/collection/src/workers/resolver.ts', from: 'INTERVAL_MS = 500', to: 'INTERVAL_MS = 100' },
  { file: 'packages/channels/src/ballast-http.ts', from: 'LATE_ANSWER_MS = 2_000', to: 'LATE_ANSWER_MS = 9_000' },
  { file: 'packages/resilience/src/rules.ts', from: 'openMs: 5_000', to: 'openMs: 200' },
  { file: 'packages/resilience/src/rules.ts', from: 'longestOpenMs: 20_000', to: 'longestOpenMs: 400' },
  { file: 'packages/resilience/src/rules.ts', from: 'rampMs: 10_000', to: 'rampMs: 0' },
];

export interface Plant {
  readonly name: string;
  readonly patches: readonly Patch[];
  /** Scenarios in which it must turn the sweep red. */
  readonly scenarios: readonly string[];
}

export const plants: readonly Plant[] = [
  {
    name: 'time-out booked as declined',
    patches: [
      {
        file: `${payments}/learnt.ts`,
        from: `    case 'in_doubt':
      return lesson(facts, 'in_doubt', outcome.reason, outcome.evidence);`,
        to: `    case 'in_doubt':
      return { ...lesson(facts, 'declined', outcome.reason, outcome.evidence), declineCode: 'timeout',
        answerAsLearnt: answerJson(facts, 'declined', { declineCode: 'timeout' }) };`,
      },
    ],
    scenarios: ['nothing dies'],
  },
  {
    name: 'retry with a new reference',
    patches: [
      {
        file: `${payments}/take-payment.ts`,
        from: 'let outcome = await callBank(core, running, attempt);',
        to: `let outcome = await callBank(core, running, attempt);
  if (outcome.kind === 'in_doubt')
    outcome = await callBank(core, running, { ...attempt, bankReference: attempt.bankReference.slice(0, -3) + '08V' });`,
      },
    ],
    scenarios: ['nothing dies'],
  },
  {
    name: 'no reversal after doubt',
    patches: [
      {
        file: `${payments}/resolve-doubt.ts`,
        from: "lesson(factsOfRow(leased), 'unwanted', reason, evidence)",
        to: "lesson(factsOfRow(leased), 'not_found', reason, evidence)",
      },
    ],
    scenarios: ['nothing dies'],
  },
  {
    name: 'late approval revives',
    patches: [{ file: `${payments}/payments.sql.ts`, from: 'i.learnt_at > o.approve_until', to: 'false' }],
    scenarios: ['killed: away past approve_until'],
  },
  {
    name: 'lease without fencing',
    patches: [
      {
        file: `${payments}/payments.sql.ts`,
        from: 'and o.lease_owner = i.lease_owner and o.lease_epoch = i.lease_epoch and o.attempt_no',
        to: 'and o.attempt_no',
      },
    ],
    scenarios: ['a stale epoch comes back'],
  },
  {
    name: 'a stale approval is dropped',
    patches: [
      {
        file: `${payments}/late-answer.ts`,
        from: "return take(core, 'stale', operation, asked, outcome);",
        to: 'return Promise.resolve();',
      },
    ],
    scenarios: ['frozen: before commit 2'],
  },
  {
    name: 'an approval that surfaces during its reversal is forgotten',
    patches: [{ file: `${payments}/learn-outside.ts`, from: 'surfaced && keepsApproval(row.state)', to: 'false' }],
    scenarios: ['nothing dies'],
  },
  {
    name: 'amount in the answer ignored',
    patches: [
      {
        file: 'packages/channels/src/answers.ts',
        from: "outcome: { kind: 'approved', amount: BigInt(answer.data.amount),",
        to: "outcome: { kind: 'approved', amount: asked.amount,",
      },
    ],
    scenarios: ['nothing dies'],
  },
  {
    name: 'intent committed after the send',
    patches: [
      {
        file: `${payments}/take-payment.ts`,
        from: '  // step: before commit 1\n',
        to: `  await callBank(core, { command, payment, deadline } as never, { ...payment, attemptNo: 1 });
  // step: before commit 1\n`,
      },
    ],
    scenarios: ['killed: before commit 1'],
  },
  {
    name: 'no deadline check before the send',
    patches: [
      {
        file: `${payments}/take-payment.ts`,
        from: 'if (channel === undefined || performance.now() >= stop)',
        to: 'if (channel === undefined)',
      },
      {
        file: `${payments}/take-payment.ts`,
        from: `      sendBefore: stop,
      deadline: stop,`,
        to: `      sendBefore: Number.POSITIVE_INFINITY,
      deadline: performance.now() + 2_000,`,
      },
    ],
    scenarios: ['frozen: before the charge is sent'],
  },
  {
    name: 'synchronous_commit off',
    patches: [
      {
        file: 'packages/database/src/lane.ts',
        from: "'jit=off',",
        to: "'jit=off', 'synchronous_commit=off',",
      },
      {
        file: 'packages/database/src/durability.ts',
        from: "if (commit === 'off' || ",
        to: 'if (',
      },
    ],
    scenarios: ['PostgreSQL is killed'],
  },
  {
    name: 'a void forgotten by commit 2',
    patches: [
      {
        file: `${payments}/payments.sql.ts`,
        from: 'order_after(o.status, i.learning, o.void_requested,',
        to: 'order_after(o.status, i.learning, false,',
      },
    ],
    scenarios: ['nothing dies'],
  },
];
