// One connection to one broker: logged in, requests in order, answers in the same order. Any doubt about it (a broken
// socket, an answer that does not come in time or does not fit) ends the link and rejects whatever waits on it: what was
// sent is then unknown, and the caller sends it again on another link.
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { KafkaConnection } from './connection.ts';
import {
  type Api,
  errorNames,
  readSaslAuthenticate,
  readSaslHandshake,
  requestHead,
  SASL_AUTHENTICATE,
  SASL_HANDSHAKE,
  saslAuthenticateRequest,
  saslHandshakeRequest,
} from './protocol.ts';
import { scramLogin } from './scram.ts';

export interface BrokerLink {
  /** Resolves to the body of the answer. */
  request(api: Api, ...body: Buffer[]): Promise<Buffer>;
  readonly open: boolean;
  close(): void;
}

const CLIENT_ID = 'ballast-publisher';
const CONNECT_TIMEOUT_MS = 1_000;
/** A broker that is alive answers a produce request within its own limit; the rest is for the way. */
const ANSWER_TIMEOUT_MS = 4_000;
/** Answers to our requests are small; more is not Kafka. */
const MAX_ANSWER_BYTES = 1_048_576;
const MECHANISM = 'SCRAM-SHA-512';

interface Expected {
  readonly number: number;
  readonly timer: NodeJS.Timeout;
  resolve(answer: Buffer): void;
  reject(error: Error): void;
}

export async function openLink(address: string, security: KafkaConnection['security']): Promise<BrokerLink> {
  const socket = await openSocket(address, security?.ca);
  const expected: Expected[] = [];
  let received: Buffer = Buffer.alloc(0);
  let ended: Error | undefined;
  let count = 0;

  function end(error: Error): void {
    if (ended !== undefined) return;
    ended = error;
    socket.destroy();
    for (const { timer, reject } of expected.splice(0)) {
      clearTimeout(timer);
      reject(error);
    }
  }

  function request(api: Api, ...body: Buffer[]): Promise<Buffer> {
    if (ended !== undefined) return Promise.reject(ended);
    const number = count++ & 0x7fffffff;
    const bytes = body.reduce((sum, part) => sum + part.length, 0);
    socket.cork();
    socket.write(requestHead(api, number, CLIENT_ID, bytes));
    for (const part of body) socket.write(part);
    socket.uncork();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => end(new Error(`${address} did not answer in ${ANSWER_TIMEOUT_MS} ms`)),
        ANSWER_TIMEOUT_MS,
      );
      expected.push({ number, timer, resolve, reject });
    });
  }

  function take(chunk: Buffer): void {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    while (received.length >= 4) {
      const length = received.readInt32BE(0);
      if (length < 4 || length > MAX_ANSWER_BYTES) {
        end(new Error(`${address} does not speak Kafka`));
        return;
      }
      if (received.length < 4 + length) return;
      const next = expected[0];
      if (next === undefined || next.number !== received.readInt32BE(4)) {
        end(new Error(`${address} answered out of turn`));
        return;
      }
      expected.shift();
      clearTimeout(next.timer);
      next.resolve(received.subarray(8, 4 + length));
      received = received.subarray(4 + length);
    }
  }

  socket.on('data', take);
  socket.on('error', end);
  socket.on('close', () => end(new Error(`${address} closed the connection`)));
  const link: BrokerLink = {
    request,
    get open() {
      return ended === undefined;
    },
    close: () => end(new Error('the link was closed')),
  };
  if (security !== undefined) {
    try {
      await logIn(link, security.username, security.password);
    } catch (error) {
      link.close();
      throw error;
    }
  }
  return link;
}

async function logIn(link: BrokerLink, username: string, password: string): Promise<void> {
  const { error } = readSaslHandshake(await link.request(SASL_HANDSHAKE, saslHandshakeRequest(MECHANISM)));
  if (error !== 0) throw new Error(`the broker refuses ${MECHANISM}: ${errorNames[error] ?? error}`);
  await scramLogin(username, password, async (message) => {
    const answer = readSaslAuthenticate(await link.request(SASL_AUTHENTICATE, saslAuthenticateRequest(message)));
    if (answer.error !== 0) throw new Error(`SASL authentication failed: ${answer.reason ?? errorNames[answer.error]}`);
    return answer.message;
  });
}

/** Resolves when connected, and with TLS when the broker's certificate was found to be of our authority. */
function openSocket(address: string, ca: string | undefined): Promise<Socket> {
  const colon = address.lastIndexOf(':');
  const to = { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
  return new Promise((resolve, reject) => {
    const socket = ca === undefined ? connect(to) : connectTls({ ...to, ca });
    const late = () => socket.destroy(new Error(`${address} did not connect in ${CONNECT_TIMEOUT_MS} ms`));
    const timer = setTimeout(late, CONNECT_TIMEOUT_MS);
    const failed = (error: Error) => {
      clearTimeout(timer);
      reject(error);
    };
    const closed = () => failed(new Error(`${address} closed the connection`));
    socket.setNoDelay(true);
    socket.once('error', failed);
    socket.once('close', closed);
    socket.once(ca === undefined ? 'connect' : 'secureConnect', () => {
      clearTimeout(timer);
      socket.off('error', failed);
      socket.off('close', closed);
      resolve(socket);
    });
  });
}
