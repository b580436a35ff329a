// /livez, /readyz and /metrics on a service's internal face.
import type { Registry } from 'prom-client';

/** The little of fastify that is needed here. */
interface App {
  get(path: string, handler: (request: unknown, reply: Reply) => Promise<unknown>): unknown;
}

interface Reply {
  code(status: number): Reply;
  type(contentType: string): Reply;
}

export interface Operational {
  readonly registry: Registry;
  /** Rejects with the reason while the service cannot do its work: own database and migrations; never banks or brokers. */
  ready(): Promise<void>;
}

export function registerOperational(app: App, { registry, ready }: Operational): void {
  app.get('/livez', async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    try {
      await ready();
      return { status: 'ok' };
    } catch (error) {
      reply.code(503);
      return { status: 'not ready', reason: error instanceof Error ? error.message : String(error) };
    }
  });
  app.get('/metrics', async (_request, reply) => {
    reply.type(registry.contentType);
    return registry.metrics();
  });
}
