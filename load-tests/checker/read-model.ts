// The query service's read model held against the journal: I-22, I-23.
import type { Invariant } from './invariant.ts';

/** I-22: each (order, version) was applied once, and nothing waits or is parked. */
export function appliedOnce(): Invariant {
  return {
    id: 'I-22',
    says: 'the query service applied each (order, version) once; nothing waits or is parked',
    when: 'quiet',
    needs: 'query',
    each: ({ orderId, events, view }, _world, finding) => {
      if (view === null) return;
      finding.evaluated(events.length);
      const [position] = view.positions;
      if (view.positions.length > 1) finding.violation(`order ${orderId} has ${view.positions.length} positions`);
      if (position?.waits_for != null) finding.violation(`order ${orderId} waits: ${position.waits_for}`);
      if ((position?.version ?? 0) !== events.length)
        finding.violation(`order ${orderId}: ${position?.version ?? 0} of ${events.length} events are applied`);
      const generation = events.at(-1)?.generation;
      if (position !== undefined && generation !== undefined && position.generation !== generation)
        finding.violation(`order ${orderId} was applied in generation ${position.generation}, not ${generation}`);
      const versions = view.told.map(({ version }) => version);
      if (new Set(versions).size !== versions.length)
        finding.violation(`order ${orderId} tells a version twice: ${versions.join(', ')}`);
    },
  };
}

/** Columns of the read model that an event's data hold under the same name. */
// biome-ignore format: a list
const SHARED = [
  'merchant_id', 'livemode', 'version', 'status', 'amount', 'currency', 'approved_amount', 'method', 'channel',
  'terminal_id', 'batch_number', 'trace_number', 'merchant_reference', 'card_bin', 'card_last_four', 'decline_code',
  'reason', 'answer', 'void_requested', 'business_date',
];

/** I-23: the read model is the fold of the journal: the last event's state as its row, every event in its story. */
export function readModelIsTheFold(): Invariant {
  return {
    id: 'I-23',
    says: 'the read model equals the fold of the journal: rows and stories',
    when: 'quiet',
    needs: 'query',
    each: ({ orderId, events, view }, _world, finding) => {
      if (view === null) return;
      finding.evaluated(events.length);
      const last = events.at(-1)?.data;
      const [row] = view.rows;
      if (view.rows.length > 1) finding.violation(`order ${orderId} has ${view.rows.length} rows in the read model`);
      if (row === undefined || last === undefined)
        return finding.violation(
          `order ${orderId} is ${row === undefined ? 'not in the read model' : 'in no journal'}`,
        );
      const attempt = last['attempt'] as Readonly<Record<string, unknown>> | null;
      const expected: Record<string, unknown> = {
        ...Object.fromEntries(SHARED.map((field) => [field, last[field] ?? null])),
        authorization_code: attempt?.['authorization_code'] ?? null,
        rrn: attempt?.['rrn'] ?? null,
        created_at: last['accepted_at'],
      };
      for (const [field, value] of Object.entries(expected))
        if (row[field] !== value)
          finding.violation(`order ${orderId}: ${field} is ${row[field]}, the journal says ${value}`);
      if (view.told.length !== events.length)
        finding.violation(`order ${orderId} tells ${view.told.length} of ${events.length} events`);
      events.forEach((event, index) => {
        const told = view.told[index];
        if (told === undefined) return;
        if (told.version !== event.version || told.type !== event.type || told.generation !== event.generation)
          finding.violation(
            `order ${orderId}: event ${event.version} ${event.type} is told as ${told.version} ${told.type}`,
          );
        else if (canonical(told.state) !== canonical(event.data))
          finding.violation(`order ${orderId}: event ${event.version} is told with another state`);
      });
    },
  };
}

/** JSON text that does not depend on the order of fields: `jsonb` keeps its own. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
