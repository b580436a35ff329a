// What people and programs ask of forwarding, on its internal face. Any instance takes a wish; the one that holds the
// source's slot follows it within half a second.
import { Problem } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import { type App, problemReplies, requireBearer } from '@ballast/http';
import { z } from 'zod';
import type { FeedStatus } from '../delivery/feed-status.ts';
import { askForRebuild, storeWanted, type Wanted } from '../delivery/feeds.sql.ts';
import type { Subscriber } from '../delivery/send-delivery.ts';
import type { Forwarding } from '../lead/forward-source.ts';
import { warningNames } from '../warnings.ts';

export interface SubscriberRoutes {
  readonly knex: Knex;
  readonly adminToken: string;
  readonly sources: readonly Forwarding[];
  readonly subscribers: readonly Subscriber[];
}

const feedSchema = z.object({
  source: z.string(),
  subscriber: z.string(),
  state: z.enum(['live', 'catching_up', 'failing', 'paused', 'disabled', 'standing_by']),
  route: z.enum(['direct', 'kafka']),
  reading: z.enum(['log', 'journal']),
  lag_seconds: z.number(),
  pending_events: z.int().nullable(),
  events_per_second: z.number(),
  seconds_to_clear: z.number().nullable(),
  delivered_events: z.int(),
  open_gaps: z.int(),
  proven: z.string().nullable(),
  failing_since: z.string().nullable(),
  last_error: z.string().nullable(),
  rebuild: z.object({ asked: z.int(), finished: z.int(), progress: z.number().nullable() }),
});

const sourceSchema = z.object({
  source: z.string(),
  state: z.enum(['connecting', 'standby', 'leading', 'misconfigured', 'waiting']),
  since: z.string(),
  reason: z.string().nullable(),
  generation: z.int().nullable(),
  route: z.enum(['kafka', 'direct', 'catch_up']),
  received_events: z.int(),
  tail_events: z.int(),
  retained_bytes: z.number().nullable(),
  safe_bytes: z.number().nullable(),
  slot_status: z.string().nullable(),
  last_beat: z.string().nullable(),
  watermark: z.string().nullable(),
  warnings: z.array(z.object({ name: z.enum(warningNames), why: z.string() })),
});

const listSchema = z.object({ subscribers: z.array(feedSchema), sources: z.array(sourceSchema) });
const acceptedSchema = z.object({ subscriber: z.string(), wanted: z.enum(['on', 'paused', 'disabled', 'rebuild']) });
const paramsSchema = z.object({ name: z.string() });

const refusals = problemReplies('api_key_invalid', 'forbidden', 'not_found');

const switches: readonly { readonly action: string; readonly wanted: Wanted; readonly summary: string }[] = [
  {
    action: 'pause',
    wanted: 'paused',
    summary:
      'Deliver nothing; keep everything for later. A subscriber that reads the topic rests there within seconds.',
  },
  { action: 'resume', wanted: 'on', summary: 'Deliver: from where it was paused, or from now when it was disabled.' },
  {
    action: 'disable',
    wanted: 'disabled',
    summary: 'Deliver nothing and drop what comes meanwhile. Refused for a subscriber that reads the topic.',
  },
];

export function registerSubscriberRoutes(app: App, { knex, adminToken, sources, subscribers }: SubscriberRoutes): void {
  const onRequest = requireBearer(adminToken);
  const readsTopic = new Set(subscribers.filter(({ route }) => route === 'kafka').map(({ name }) => name));

  app.get(
    '/admin/subscribers',
    { onRequest, schema: { response: { 200: listSchema, ...problemReplies('api_key_invalid') } } },
    async () => ({ subscribers: sources.flatMap(feedsOf), sources: sources.map(statusOf) }),
  );

  for (const { action, wanted, summary } of switches) {
    app.post(
      `/admin/subscribers/:name/${action}`,
      { onRequest, schema: { summary, params: paramsSchema, response: { 202: acceptedSchema, ...refusals } } },
      async (request, reply) => {
        const { name } = request.params;
        if (wanted === 'disabled' && readsTopic.has(name))
          throw new Problem('forbidden', `${name} reads the topic, from which nothing is dropped for it: pause it`);
        if (!(await storeWanted(knex, name, wanted))) throw new Problem('not_found', `there is no subscriber ${name}`);
        return accepted(reply, name, wanted);
      },
    );
  }

  app.post(
    '/admin/subscribers/:name/rebuild',
    {
      onRequest,
      schema: {
        summary:
          'Deliver the whole journal again from its beginning, then go on. The subscriber forgets what it had first.',
        params: paramsSchema,
        response: { 202: acceptedSchema, ...refusals },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      if (!(await askForRebuild(knex, name))) throw new Problem('not_found', `there is no subscriber ${name}`);
      return accepted(reply, name, 'rebuild' as const);
    },
  );

  function accepted<W extends Wanted | 'rebuild'>(
    reply: { code(status: 202): unknown },
    subscriber: string,
    wanted: W,
  ) {
    for (const source of sources) source.nudge();
    reply.code(202);
    return { subscriber, wanted };
  }
}

function statusOf(forwarding: Forwarding): z.infer<typeof sourceSchema> {
  const { warnings, ...status } = forwarding.status();
  return { ...status, warnings: [...warnings] };
}

function feedsOf(forwarding: Forwarding): z.infer<typeof feedSchema>[] {
  const { source } = forwarding.status();
  return forwarding.feeds().map((feed) => ({
    source,
    ...feed,
    seconds_to_clear: secondsToClear(feed),
  }));
}

/** Null: nobody knows how much there is, or nothing of it has been taken lately. */
function secondsToClear({ pending_events: pending, events_per_second: rate }: FeedStatus): number | null {
  if (pending === 0) return 0;
  return pending === null || rate === 0 ? null : pending / rate;
}
