// One JSON request to a service's internal face (or the simulator's switchboard), with a time limit.
import { request } from 'undici';

const LIMIT_MS = 5_000;

class AdminCallFailed extends Error {
  readonly status: number;

  constructor(what: string, status: number, body: string) {
    super(`${what} answered ${status}: ${body.slice(0, 500)}`);
    this.name = 'AdminCallFailed';
    this.status = status;
  }
}

/** The parsed body (null when there is none). Rejects with AdminCallFailed on anything but 2xx. */
export async function adminCall(
  method: 'GET' | 'PUT' | 'POST' | 'DELETE',
  url: string,
  options: { token?: string; body?: unknown; limitMs?: number } = {},
): Promise<unknown> {
  const { token, body, limitMs = LIMIT_MS } = options;
  const reply = await request(url, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: body === undefined ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(limitMs),
  });
  const text = await reply.body.text();
  if (reply.statusCode < 200 || reply.statusCode > 299)
    throw new AdminCallFailed(`${method} ${new URL(url).pathname}`, reply.statusCode, text);
  return text === '' ? null : (JSON.parse(text) as unknown);
}
