// Whatever goes wrong leaves as problem+json (RFC 9457), with the code, what to do, and the field.
import type { Socket } from 'node:net';
import { type FieldError, Problem, type ProblemCode, problemSchema, problems } from '@ballast/contracts';
import { type Logger, scrub } from '@ballast/telemetry';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import type { App } from './app.ts';
import { isDatabaseAway } from './database-away.ts';

const CONTENT_TYPE = 'application/problem+json; charset=utf-8';

/** Fastify's own refusals. */
const byFastifyCode: Readonly<Record<string, ProblemCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'malformed_body',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'malformed_body',
  FST_ERR_CTP_INVALID_JSON_BODY: 'malformed_body',
  FST_ERR_BAD_URL: 'invalid_parameter',
  FST_ERR_MAX_PARAM_LENGTH: 'invalid_parameter',
};

/** For a route's schema: the problems it may answer with. Untyped: handlers throw a Problem, they never return one. */
export function problemReplies(...codes: ProblemCode[]): Record<never, never> {
  const statuses = new Set(codes.map((code) => problems[code].status));
  return Object.fromEntries(
    [...statuses].map((status) => [
      status,
      {
        description: codes.filter((code) => problems[code].status === status).join(', '),
        content: { 'application/problem+json': { schema: problemSchema } },
      },
    ]),
  );
}

/** Set before any plugin or route. */
export function problemHandlers(app: App, logger: Logger): void {
  const routes: { readonly method: string; readonly path: RegExp }[] = [];
  app.addHook('onRoute', ({ method, url }) => {
    const pattern = url.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll(/:[^/]+/g, '[^/]+');
    for (const name of [method].flat())
      routes.push({ method: name, path: new RegExp(`^${pattern.replace('*', '.*')}$`) });
  });
  app.setErrorHandler((error, request, reply) => sendProblem(error, request, reply, logger));
  app.setNotFoundHandler((request, reply) => {
    const path = pathOf(request.url);
    const allowed = [...new Set(routes.filter((route) => route.path.test(path)).map((route) => route.method))];
    if (allowed.length > 0 && !allowed.includes(request.method)) {
      reply.header('allow', allowed.join(', '));
      return sendProblem(
        new Problem('method_not_allowed', `${request.method} is not allowed here; ${allowed.join(', ')} is.`),
        request,
        reply,
        logger,
      );
    }
    return sendProblem(new Problem('not_found', 'There is nothing at this address.'), request, reply, logger);
  });
}

export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply, logger: Logger) {
  const problem = problemOf(error);
  if (problem.code === 'database_unavailable') {
    logger.warn({ request_id: request.id, route: request.routeOptions?.url, err: problem.cause }, 'database away');
  }
  if (problem.code === 'internal') {
    logger.error(
      { request_id: request.id, method: request.method, route: request.routeOptions?.url, err: error },
      'bug',
    );
  }
  reply.code(problem.status).header('content-type', CONTENT_TYPE).header('x-request-id', request.id);
  if (problem.retryAfterSeconds !== undefined) reply.header('retry-after', String(problem.retryAfterSeconds));
  // The path, an unknown field's name: whatever of the request is said again, a card number is not.
  return reply.send(scrub(JSON.stringify(problem.toBody(pathOf(request.url), request.id))));
}

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const inBody = error.validationContext === 'body';
    const errors = error.validation.map(({ instancePath, message = 'is wrong', params }) =>
      fieldErrorOf(instancePath, message, params, inBody),
    );
    const first = errors[0];
    return new Problem(
      inBody ? 'invalid_request' : 'invalid_parameter',
      first === undefined ? 'A field is missing or wrong.' : `${first.pointer || 'The body'} ${first.detail}.`,
      { errors, cause: error },
    );
  }
  const {
    code = '',
    statusCode = 500,
    message = '',
  } = (error ?? {}) as { code?: string; statusCode?: number; message?: string };
  const known = byFastifyCode[code];
  if (known !== undefined) return new Problem(known, `${message}.`, { cause: error });
  if (isDatabaseAway(error)) {
    return new Problem('database_unavailable', 'The database did not answer; the same request may be sent again.', {
      retryAfterSeconds: 1,
      cause: error,
    });
  }
  if (statusCode >= 400 && statusCode < 500) return new Problem('invalid_parameter', message, { cause: error });
  return new Problem('internal', 'Something broke on our side; it has been logged.', { cause: error });
}

function fieldErrorOf(instancePath: string, message: string, params: unknown, inBody: boolean): FieldError {
  const keys = (params as { keys?: unknown } | undefined)?.keys;
  const extra = Array.isArray(keys) && typeof keys[0] === 'string' ? keys[0] : undefined;
  const base = instancePath === '/' ? '' : instancePath;
  const path = extra === undefined ? base : `${base}/${extra}`;
  const detail = extra === undefined ? lowerFirst(message) : 'is not a known field';
  return { pointer: inBody ? path : path.replace(/^\//, ''), detail };
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function pathOf(url: string): string {
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

/** Bytes that are no HTTP request: answered on the bare socket, then closed. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const status = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400;
  const body = JSON.stringify({
    type: '/docs/problems#malformed_request',
    title: problems.malformed_request.title,
    status,
    code: 'malformed_request',
    retryable: false,
    money_moved: problems.malformed_request.moneyMoved,
  });
  if (!socket.writable) return void socket.destroy();
  socket.end(
    `HTTP/1.1 ${status} ${status === 408 ? 'Request Timeout' : 'Bad Request'}\r\ncontent-type: ${CONTENT_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
