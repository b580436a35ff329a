// The shell of every HTTP face: strict JSON in, problem+json out, request ids, metrics, OpenAPI. Builds, never listens.
// The life of a request: onRequest (id, tokens) → raw body → preValidation (a signature over the raw bytes, then JSON) →
// schema → handler → reply. Error and not-found handlers stand before every plugin, or a plugin's own errors leak through.
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger, Metrics } from '@ballast/telemetry';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
  LogController,
  type RawServerDefault,
} from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { type Face, limitConnections } from './connections.ts';
import type { TlsFiles } from './listen.ts';
import { describeFace } from './openapi.ts';
import { answerClientError, problemHandlers, sendProblem } from './problems.ts';
import { parseStrictJson } from './strict-json.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes as they came; empty where there was no body. Signatures are over these. */
    rawBody: Buffer;
    /** `performance.now()` at receipt: deadlines count from here. */
    receivedAt: number;
  }
}

export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

export interface Description {
  readonly title: string;
  readonly version: string;
  readonly description: string;
  /** Where callers carry a bearer token: what it is. Routes name it by `security: [{ bearer: [] }]`. */
  readonly bearer?: string;
}

export interface AppOptions {
  readonly service: string;
  /** How many connections it takes: connections.ts. */
  readonly face: Face;
  readonly logger: Logger;
  /** Without: the face's requests are not measured. */
  readonly metrics?: Metrics;
  /** Bytes; 64 KiB unless a face takes more (deliveries). */
  readonly bodyLimit?: number;
  /** Numbers with a fraction or an exponent are refused (money faces). Default true. */
  readonly integersOnly?: boolean;
  readonly openapi?: Description;
  readonly tls?: TlsFiles | undefined;
}

const BODY_LIMIT = 65_536;
/** A whole request must have arrived by then: a slow sender holds a socket, nothing else. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Longer than the usual 60 s of the proxies in front, so that they close an idle connection, not we. */
const KEEP_ALIVE_MS = 72_000;
const MAX_PARAM_LENGTH = 128;
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;
const NO_BODY = Buffer.alloc(0);

export async function createApp(options: AppOptions): Promise<App> {
  const { logger, metrics, integersOnly = true, openapi } = options;
  const app = Fastify({
    ...(options.tls === undefined ? {} : { https: options.tls }),
    bodyLimit: options.bodyLimit ?? BODY_LIMIT,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestIds(),
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, request, reply) => sendProblem(error, request, reply, logger),
  }) as unknown as App;
  limitConnections(app.server, options.face, logger);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  problemHandlers(app, logger);

  app.decorateRequest('rawBody', null as unknown as Buffer); // set for each request below: fastify refuses a shared object
  app.decorateRequest('receivedAt', 0);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    request.rawBody = body;
    return body;
  });
  app.addHook('onRoute', (route) => {
    // Last of the route's own: whatever looks at the raw bytes (a signature) comes before they are parsed.
    route.preValidation = [...[route.preValidation ?? []].flat(), parseBody];
  });
  async function parseBody(request: FastifyRequest): Promise<void> {
    if (Buffer.isBuffer(request.body)) request.body = parseStrictJson(request.body, integersOnly);
  }

  app.addHook('onRequest', async (request, reply) => {
    request.receivedAt = performance.now();
    request.rawBody = NO_BODY;
    reply.header('x-request-id', request.id);
  });
  if (metrics !== undefined) measure(app, metrics);

  if (openapi !== undefined) await describeFace(app, openapi);
  return app;
}

function measure(app: App, metrics: Metrics): void {
  const duration = metrics.duration('http_server_request_duration_seconds', 'Time from receipt to the reply sent.', [
    'method',
    'route',
    'status',
  ]);
  app.addHook('onResponse', async (request, reply) => {
    const labels = {
      method: request.method,
      route: request.routeOptions.url ?? 'none',
      status: String(reply.statusCode),
    };
    duration.observe(labels, (performance.now() - request.receivedAt) / 1_000);
  });
}

/** The caller's id where it is well formed, else one of ours: unique, cheap, and greppable. */
function requestIds(): (request: { headers: Record<string, string | string[] | undefined> }) => string {
  const prefix = randomBytes(6).toString('hex');
  let count = 0;
  return (request) => {
    const given = request.headers['x-request-id'];
    return typeof given === 'string' && REQUEST_ID.test(given) ? given : `${prefix}-${(++count).toString(36)}`;
  };
}
