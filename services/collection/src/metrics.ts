// What collection measures.
import type { ChargeOutcome, InquiryOutcome, ReversalOutcome } from '@ballast/channels';
import type { LetIn, Override } from '@ballast/contracts';
import { onTransaction } from '@ballast/database';
import type { PolicyEvent } from '@ballast/resilience';
import { type Alarms, createMetrics, watchTransactions } from '@ballast/telemetry';
import type { Knex } from 'knex';
import type { PaymentsCore } from './payments/core.ts';
import { countOpenOrders } from './payments/leases.sql.ts';
import { countInDoubt } from './payments/orders.sql.ts';
import { countOpenCases } from './payments/persons.sql.ts';

export type CollectionMetrics = ReturnType<typeof createCollectionMetrics>;

/** `alarms`: told of transactions that last too long. */
export function createCollectionMetrics(alarms: Pick<Alarms, 'raise'>) {
  const metrics = createMetrics('collection');
  const calls = metrics.counter('ballast_channel_requests_total', 'Calls of a channel by outcome.', [
    'channel',
    'operation',
    'outcome',
    'reason',
  ]);
  const callDuration = metrics.duration('ballast_channel_request_duration_seconds', 'From admission to the end.', [
    'channel',
    'operation',
  ]);
  const oddAnswers = metrics.counter('ballast_odd_answers_total', "Late, strangers' and contradicting answers.", [
    'channel',
    'kind',
  ]);
  const refusedInbound = metrics.counter(
    'ballast_inbound_refused_total',
    'Requests refused (or that would have been) on the way in.',
    ['kind', 'rule'],
  );
  const retries = metrics.counter('ballast_channel_retries_total', 'Retries made, or not for want of budget.', [
    'channel',
    'operation',
    'made',
  ]);
  const wouldRefuse = metrics.counter(
    'ballast_channel_would_refuse_total',
    'Calls that a rule would have refused: a candidate beside the rules, or one that only alarms.',
    ['channel', 'operation', 'by', 'rule'],
  );
  watchTransactions(onTransaction, metrics, alarms);

  return {
    ...metrics,

    channelEvent(channel: string, operation: string, event: PolicyEvent): void {
      const labels = { channel, operation };
      switch (event.kind) {
        case 'ended':
          callDuration.observe(labels, event.durationMs / 1_000);
          return;
        case 'retry':
        case 'retry_denied':
          retries.inc({ ...labels, made: event.kind === 'retry' ? 'yes' : 'no' });
          return;
        case 'would_refuse':
          wouldRefuse.inc({ ...labels, by: 'alarm_only', rule: event.refusal.rule });
          return;
        case 'shadow_would_refuse':
          wouldRefuse.inc({ ...labels, by: 'shadow', rule: event.refusal.rule });
          return;
        case 'state': // read when somebody looks (channels/channel-metrics.ts)
        case 'refused': // channelOutcome has it
        case 'late':
        case 'timeout_exceeds_caller':
        case 'drill_ended':
          return;
      }
    },

    /** How one call of a channel ended, in the five words of the dashboards; `reason` says more. */
    channelOutcome(
      channel: string,
      operation: string,
      outcome: ChargeOutcome | InquiryOutcome | ReversalOutcome,
    ): void {
      calls.inc({ channel, operation, ...wordsOf(outcome) });
    },

    inbound(kind: 'refused' | 'would_refuse', rule: string): void {
      refusedInbound.inc({ kind, rule });
    },

    oddAnswer(channel: string, kind: string): void {
      oddAnswers.inc({ channel, kind });
      const message = `${channel} gave an answer that stands for no order of ours as it is: ${kind}`;
      alarms.raise({ name: 'odd_answer', severity: 'warning', subject: `${channel} ${kind}`, message });
    },

    /** Somebody did alone, or without the role for it, what takes more (packages/control, who-may.ts). */
    glassBroken({ channel, setting, author, reason }: Override): void {
      const message = `${author} broke the glass: ${setting.kind} on ${channel} (${reason})`;
      alarms.raise({ name: 'break_glass', severity: 'critical', subject: `${channel} ${setting.kind}`, message });
    },

    /** A second person may be none: for a day `author` may know the password of `name`. */
    operatorLetIn({ name, author }: LetIn): void {
      const message = `${author} let ${name} in: added, enabled, or given a password or role. If nobody knows why, ask both`;
      alarms.raise({ name: 'operator_let_in', severity: 'critical', subject: name, message });
    },

    /** Gauges that are read when somebody looks. */
    watch(core: PaymentsCore, knex: Knex): void {
      let seen = { count: 0, oldestSeconds: 0 };
      metrics.gauge('ballast_in_doubt_orders', 'Orders in doubt.', [], async function () {
        seen = await countInDoubt(knex);
        this.set(seen.count);
      });
      metrics.gauge('ballast_in_doubt_oldest_seconds', 'Age of the oldest order in doubt.', [], function () {
        this.set(seen.oldestSeconds);
      });
      metrics.gauge('ballast_with_person', 'Attempts that wait for a person.', ['channel'], async function () {
        this.reset();
        for (const { channel, cases } of await countOpenCases(knex)) this.set({ channel }, Number(cases));
      });
      metrics.gauge(
        'ballast_resolver_due',
        'Orders that wait for the resolver.',
        ['channel', 'work'],
        async function () {
          this.reset();
          for (const { channel, work, orders } of await countOpenOrders(knex))
            this.set({ channel, work }, Number(orders));
        },
      );
      metrics.gauge('ballast_commit_waiting_rows', 'Rows waiting for a group commit.', ['statement'], function () {
        this.set({ statement: 'accept' }, core.accept.stats().waiting);
        this.set({ statement: 'learn' }, core.learnt.stats().waiting);
      });
      metrics.gauge(
        'ballast_commit_batches',
        'Batches and rows committed since the start.',
        ['statement', 'of'],
        function () {
          for (const [statement, commit] of [['accept', core.accept] as const, ['learn', core.learnt] as const]) {
            const { batches, rows } = commit.stats();
            this.set({ statement, of: 'batches' }, batches);
            this.set({ statement, of: 'rows' }, rows);
          }
        },
      );
    },
  };
}

function wordsOf(outcome: ChargeOutcome | InquiryOutcome | ReversalOutcome): { outcome: string; reason: string } {
  switch (outcome.kind) {
    case 'approved':
    case 'reversed':
      return { outcome: 'approved', reason: outcome.kind };
    case 'declined':
    case 'refused':
    case 'not_found':
      return { outcome: 'declined', reason: outcome.kind };
    case 'in_doubt':
      return { outcome: outcome.reason === 'timeout' ? 'timeout' : 'technical', reason: outcome.reason };
    case 'not_sent':
      return { outcome: outcome.refusedByUs ? 'refused' : 'technical', reason: outcome.reason };
  }
}
