// The face's description, generated from the zod schemas of its routes: OpenAPI 3.1 at /openapi.json, readable at /docs.
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { createJsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import type { App, Description } from './app.ts';
import { problemPage } from './problem-page.ts';

type Described = ReturnType<typeof jsonSchemaTransformObject>;

export async function describeFace(app: App, { bearer, ...info }: Description): Promise<void> {
  const securitySchemes = { bearer: { type: 'http' as const, scheme: 'bearer', description: bearer ?? '' } };
  await app.register(swagger, {
    openapi: { openapi: '3.1.0', info, ...(bearer === undefined ? {} : { components: { securitySchemes } }) },
    transform: createJsonSchemaTransform({ skipList: ['/openapi.json', '/docs', '/docs/*'] }),
    transformObject: (document) => withoutStrangers(jsonSchemaTransformObject(document)),
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
  const page = problemPage();
  app.get('/docs/problems', { schema: { hide: true } }, async (_request, reply) => reply.type('text/html').send(page));
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}

/** zod's registry knows every named schema of the process; the description keeps those that its routes lead to. */
function withoutStrangers(document: Described): Described {
  if (!('components' in document)) return document;
  const schemas: Record<string, unknown> = { ...document.components?.schemas };
  const kept = new Map<string, unknown>();
  const visit = (value: unknown) => {
    for (const [, name = ''] of JSON.stringify(value).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
      if (kept.has(name)) continue;
      kept.set(name, schemas[name]);
      visit(schemas[name]);
    }
  };
  visit(document.paths ?? {});
  return { ...document, components: { ...document.components, schemas: Object.fromEntries(kept) } } as Described;
}
