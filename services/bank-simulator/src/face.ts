// A bank's HTTP face: plain node:http, because some of its behaviours are below what a framework lets one do, and
// because it shares two cores with what it is measured beside.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Bank, ChargeRequest, Reply } from './bank.ts';
import { chooseRule, drawLatency, noScript, type Operation, type Rule, type Script } from './behaviour.ts';
import type { BankConfig } from './config.ts';

const MAX_BODY = 65_536;
const HUGE = 100_000_000;

export interface Face {
  readonly server: Server;
  script(): Script;
  setScript(script: Script): void;
  /** Requests read whole since the start, also those that were never answered. */
  received(): Readonly<Record<Operation, number>>;
}

interface Call {
  readonly operation: Operation;
  readonly reference: string;
  /** Does what the request asks for and resolves when it is in the books. */
  act(rule: Rule | null): Promise<Reply>;
}

export function openFace(bank: Bank, config: BankConfig): Face {
  let script = noScript;
  const received = { charge: 0, inquiry: 0, reversal: 0, refund: 0 };

  const server = createServer((request, response) => {
    if (script.down) return void request.socket.resetAndDestroy();
    void serve(request, response).catch(() => request.socket.destroy());
  });
  server.keepAliveTimeout = 60_000;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const call = callOf(bank, request, await bodyOf(request));
    if (call === null) return send(response, { status: 400, body: { result: 'bad_request' } });
    received[call.operation]++;
    const chosen = chooseRule(script, call.operation, call.reference, Math.random);
    script = chosen.next;
    const latency = drawLatency(config.latency, Math.random) + script.extra_latency_ms;
    if (latency > 0) await delay(latency / 2);
    if (chosen.rule !== null && (await spoilBefore(bank, chosen.rule, request, response))) return;
    if (chosen.rule?.behaviour === 'accepts_late') {
      await delay(chosen.rule.delay_ms);
      return void (await call.act(chosen.rule));
    }
    const reply = await call.act(chosen.rule);
    if (latency > 0) await delay(latency / 2);
    if (chosen.rule === null) return send(response, reply);
    await spoilAnswer(chosen.rule, reply, request, response);
  }

  return {
    server,
    script: () => script,
    setScript: (next) => {
      script = next;
    },
    received: () => ({ ...received }),
  };
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown> | null> {
  if (request.method === 'GET') return {};
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) return null;
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function callOf(bank: Bank, request: IncomingMessage, body: Record<string, unknown> | null): Call | null {
  const [, collection, reference = '', sub] = (request.url ?? '').split('?')[0]?.split('/') ?? [];
  const route = `${request.method} ${collection}${reference === '' ? '' : '/:reference'}${sub === undefined ? '' : `/${sub}`}`;
  if (body === null) return null;
  switch (route) {
    case 'POST charges': {
      const charge = body as unknown as ChargeRequest;
      if (!isTerms(body) || typeof charge.reference !== 'string' || typeof charge.instrument !== 'object') return null;
      return {
        operation: 'charge',
        reference: charge.reference,
        act: (rule) =>
          bank.charge(charge, {
            ...(rule?.behaviour === 'partial_approval'
              ? { approvedAmount: Math.max(1, Math.floor(charge.amount / 2)) }
              : {}),
            pending: rule?.behaviour === 'pending',
          }),
      };
    }
    case 'GET charges/:reference':
      return { operation: 'inquiry', reference, act: async () => bank.inquire(reference) };
    case 'POST charges/:reference/reversals':
      if (!isTerms(body)) return null;
      return {
        operation: 'reversal',
        reference,
        act: (rule) => bank.reverse(reference, body, { refuse: rule?.behaviour === 'reversal_refused' }),
      };
    case 'POST refunds': {
      const refund = body as unknown as Parameters<Bank['refund']>[0];
      if (!isTerms(body) || typeof refund.reference !== 'string' || typeof refund.original_reference !== 'string')
        return null;
      return { operation: 'refund', reference: refund.reference, act: () => bank.refund(refund) };
    }
    case 'GET refunds/:reference':
      return { operation: 'inquiry', reference, act: async () => bank.inquireRefund(reference) };
    default:
      return null;
  }
}

function isTerms(body: Record<string, unknown>): body is { amount: number; currency: string } {
  return Number.isInteger(body['amount']) && typeof body['currency'] === 'string';
}

/** What goes wrong before the bank has done anything. True: the request ends here. */
async function spoilBefore(
  bank: Bank,
  rule: Rule,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  switch (rule.behaviour) {
    case 'timeout_before_accepting':
      return true;
    case 'reset_before_accepting':
      request.socket.resetAndDestroy();
      return true;
    case 'server_error':
      send(response, { status: 500, body: { error: 'internal' } });
      return true;
    case 'too_many':
      response.setHeader('retry-after', '1');
      send(response, { status: 429, body: { error: 'too many requests' } });
      return true;
    case 'redirect':
      response.writeHead(307, { location: 'http://127.0.0.1:9/' }).end();
      return true;
    case 'not_found_at_first':
      if ((bank.ageOf((request.url ?? '').split('/')[2] ?? '') ?? rule.delay_ms) >= rule.delay_ms) return false;
      return spoilBefore(bank, { ...rule, behaviour: 'not_found' }, request, response);
    case 'not_found':
      if (request.method === 'POST' && !(request.url ?? '').endsWith('/reversals')) return false;
      send(response, { status: 404, body: { result: 'not_found', reference: (request.url ?? '').split('/')[2] } });
      return true;
    default:
      return false;
  }
}

/** What goes wrong with the answer, after the bank did what was asked. */
async function spoilAnswer(
  rule: Rule,
  reply: Reply,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const text = JSON.stringify(reply.body);
  const half = () => {
    response.writeHead(reply.status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    response.write(text.slice(0, text.length / 2));
  };
  switch (rule.behaviour) {
    case 'timeout_after_accepting':
    case 'reversal_unanswered':
      return;
    case 'late':
      await delay(rule.delay_ms);
      return send(response, reply);
    case 'answer_twice':
      send(response, reply);
      request.socket.write(
        `HTTP/1.1 ${reply.status} OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
      );
      return;
    case 'foreign_answer':
    case 'wrong_reference':
      return send(response, { ...reply, body: { ...reply.body, reference: '0'.repeat(28) } });
    case 'wrong_amount':
      return send(response, { ...reply, body: { ...reply.body, amount: Number(reply.body['amount']) + 1 } });
    case 'wrong_currency':
      return send(response, { ...reply, body: { ...reply.body, currency: 'XXX' } });
    case 'unknown_code':
      return send(response, { ...reply, body: { ...reply.body, result: 'mystery', response_code: 'ZZ' } });
    case 'error_after_accepting':
      return send(response, { status: 502, body: { error: 'bad gateway' } });
    case 'html':
      return void response.writeHead(200, { 'content-type': 'text/html' }).end('<html><body>Maintenance</body></html>');
    case 'empty':
      return void response.writeHead(200, { 'content-length': 0 }).end();
    case 'truncated':
      half();
      return void setImmediate(() => request.socket.end());
    case 'reset_after_accepting':
      return void request.socket.resetAndDestroy();
    case 'reset_in_answer':
      half();
      return void setImmediate(() => request.socket.resetAndDestroy());
    case 'huge':
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': HUGE });
      return void pourZeros(response, HUGE);
    case 'gzip_bomb':
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
      return void response.end(await theBomb());
    case 'trickle':
      response.writeHead(reply.status, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
      });
      for (const byte of text) {
        if (response.destroyed) return;
        response.write(byte);
        await delay(1_000);
      }
      return void response.end();
    default:
      return send(response, reply);
  }
}

let bomb: Promise<Buffer> | undefined;

/** Packed once, and beside the event loop: it takes a third of a second, in which no bank of this process would answer. */
function theBomb(): Promise<Buffer> {
  bomb ??= promisify(gzip)(Buffer.alloc(HUGE));
  return bomb;
}

function pourZeros(response: ServerResponse, left: number): void {
  const chunk = Buffer.alloc(65_536, '0');
  for (let rest = left; rest > 0; rest -= chunk.length) {
    if (response.destroyed) return;
    if (!response.write(chunk)) return void response.once('drain', () => pourZeros(response, rest - chunk.length));
  }
  response.end();
}

function send(response: ServerResponse, { status, body }: Reply): void {
  const text = JSON.stringify(body);
  response
    .writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    .end(text);
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
