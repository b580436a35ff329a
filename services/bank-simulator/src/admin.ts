// The switchboard of the simulator: which bank misbehaves how. For drills and tests; never part of a bank's own face.
import Fastify from 'fastify';
import type { Bank } from './bank.ts';
import { noScript, scriptSchema } from './behaviour.ts';
import type { Face } from './face.ts';

export function buildAdmin(banks: ReadonlyMap<string, { bank: Bank; face: Face }>) {
  const app = Fastify({ logger: false });
  const find = (name: string) => banks.get(name);
  app.get('/livez', async () => ({ status: 'ok' }));
  app.get('/banks', async () =>
    [...banks.values()].map(({ bank, face }) => ({
      name: bank.name,
      // The one it listens on: with port 0 the system chose it.
      port: portOf(face),
      books: bank.books.file,
      behaviour: face.script(),
      received: face.received(),
    })),
  );
  app.get<{ Params: { name: string } }>('/banks/:name/behaviour', async (request, reply) => {
    const found = find(request.params.name);
    return found === undefined ? reply.code(404).send({ error: 'no such bank' }) : found.face.script();
  });
  app.put<{ Params: { name: string } }>('/banks/:name/behaviour', async (request, reply) => {
    const found = find(request.params.name);
    if (found === undefined) return reply.code(404).send({ error: 'no such bank' });
    const script = scriptSchema.safeParse(request.body);
    if (!script.success)
      return reply
        .code(422)
        .send({ error: script.error.issues.map((issue) => `/${issue.path.join('/')} ${issue.message}`).join('; ') });
    found.face.setScript(script.data);
    return script.data;
  });
  app.delete<{ Params: { name: string } }>('/banks/:name/behaviour', async (request, reply) => {
    const found = find(request.params.name);
    if (found === undefined) return reply.code(404).send({ error: 'no such bank' });
    found.face.setScript(noScript);
    return noScript;
  });
  return app;
}

function portOf({ server }: Face): number | null {
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : null;
}
