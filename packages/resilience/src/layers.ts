// The parts of one policy and what changes at run time, opened together. policy.ts walks a business call through them,
// one-try.ts each try of it.
import { type Breaker, createBreaker } from './breaker.ts';
import { type Bulkhead, createBulkhead } from './bulkhead.ts';
import { checkRules } from './check-rules.ts';
import type { Drill } from './drill.ts';
import { createGate, keepsCallsAway, type OperatorGate } from './gate.ts';
import { createLimiter, type Limiter } from './limiter.ts';
import type { PolicyEvent, PolicyOptions } from './policy-types.ts';
import { createQuota, type Quota } from './quota.ts';
import type { Refusal } from './refusal.ts';
import { createRetryBudget, type RetryBudget, type RetrySafety } from './retry.ts';
import type { PolicyRules } from './rules.ts';
import type { Shadow } from './shadow.ts';
import { createTimeout, type Timeout } from './timeout.ts';

export interface Layers {
  rules: PolicyRules;
  /** This process's part of the limits whose scope is `cluster`. */
  share: number;
  shadow: Shadow | null;
  drill: Drill | null;
  readonly operator: OperatorGate;
  readonly quota: Quota;
  readonly breaker: Breaker;
  readonly bulkhead: Bulkhead;
  readonly limiter: Limiter;
  readonly timeout: Timeout;
  readonly retryBudget: RetryBudget;
  readonly retrySafety: RetrySafety;
  readonly now: () => number;
  readonly random: () => number;
  /** Nobody listens: events need not be made. */
  readonly silent: boolean;
  tell(event: PolicyEvent): void;
  /** The gate, as far as it holds for this operation. */
  passGate(): Refusal | null;
  peekGate(): Refusal | null;
  /** False: forced open holds for this operation, also for calls that were admitted before. */
  readonly maySend: () => boolean;
}

export function openLayers(options: PolicyOptions): Layers {
  const { listener, now = () => performance.now(), random = Math.random } = options;
  const { essential = false, retrySafety = 'never', retryBudget = createRetryBudget() } = options;
  const rules = checkRules(options.rules);
  const operator = createGate();

  /** A listener that throws must not turn a paid call into a failed one. */
  function tell(event: PolicyEvent): void {
    try {
      listener?.(event);
    } catch (error) {
      // A bug of the listener, said aloud; to let it end the process would leave every call in flight in doubt.
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }

  const holds = () => !(essential && keepsCallsAway(operator.gate));
  const layers: Layers = {
    rules,
    share: 1,
    shadow: null,
    drill: null,
    operator,
    quota: createQuota(rules.quota, now()),
    bulkhead: createBulkhead(rules.bulkhead),
    limiter: createLimiter(rules.rate, now),
    timeout: createTimeout(rules.timeout, now()),
    breaker: createBreaker({
      rules: rules.breaker,
      maxInFlight: () => layers.rules.bulkhead.maxInFlight,
      now,
      onChange: ({ from, to, why, numbers }) => {
        tell({ kind: 'state', from, state: to, why, numbers });
        if (to === 'open') layers.drill?.breakerOpened(now());
      },
    }),
    retryBudget,
    retrySafety,
    now,
    random,
    silent: listener === undefined,
    tell,
    passGate: () => (holds() ? operator.pass(layers.rules.version) : null),
    maySend: () => operator.gate.mode !== 'forced_open' || !holds(),
    peekGate: () => (holds() ? operator.peek(layers.rules.version) : null),
  };
  return layers;
}
