// A subscriber that reads the topic asks here whether it is to: pausing it must stop that route as well, and no other word
// reaches all of its processes.
import { Problem, topicReadingSchema } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import { type App, problemReplies, requireBearer } from '@ballast/http';
import { isWanted } from '../delivery/feeds.sql.ts';
import type { Subscriber } from '../delivery/send-delivery.ts';

export interface TopicRoute {
  readonly knex: Knex;
  readonly subscribers: readonly Subscriber[];
}

export function registerTopicRoute(app: App, { knex, subscribers }: TopicRoute): void {
  const response = { 200: topicReadingSchema, ...problemReplies('api_key_invalid', 'database_unavailable') };
  for (const { name, token } of subscribers) {
    app.get(`/subscribers/${name}/topic`, { onRequest: requireBearer(token), schema: { response } }, async () => {
      const reads = await isWanted(knex, name).catch((cause: unknown) => {
        throw new Problem('database_unavailable', 'what is wanted cannot be read', { retryAfterSeconds: 1, cause });
      });
      return { reads };
    });
  }
}
