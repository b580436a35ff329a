// One keep-alive HTTP/1.1 connection, one request at a time. Only what the services answer with is understood:
// a status line, a Content-Length, a body.
import { createConnection, type Socket } from 'node:net';

const HEAD_END = '\r\n\r\n';
const CONTENT_LENGTH = /\r\ncontent-length: (\d+)/i;
const STATUS_AT = 'HTTP/1.1 '.length;

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export interface Connection {
  /** Calls back with the answer, or null when the connection broke before one was whole. */
  send(bytes: Buffer, answered: (answer: Answer | null) => void): void;
  close(): void;
}

export async function connect(url: string): Promise<Connection> {
  const { hostname, port } = new URL(url);
  let socket: Socket = await open();
  let waiting: ((answer: Answer | null) => void) | null = null;
  let received: Buffer | null = null;
  let closed = false;

  function open(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const opened = createConnection({ host: hostname, port: Number(port), noDelay: true });
      opened.once('connect', () => resolve(opened));
      opened.once('error', reject);
      opened.on('data', read);
      opened.on('close', () => {
        if (closed) return;
        // What comes next finds a new connection; what was asked on this one has no answer.
        open().then(
          (next) => {
            socket = next;
            settle(null);
          },
          () => settle(null),
        );
      });
    });
  }

  function settle(answer: Answer | null): void {
    const callback = waiting;
    waiting = null;
    received = null;
    callback?.(answer);
  }

  function read(chunk: Buffer): void {
    received = received === null ? chunk : Buffer.concat([received, chunk]);
    const headEnd = received.indexOf(HEAD_END);
    if (headEnd < 0) return;
    const head = received.toString('latin1', 0, headEnd);
    const length = Number(CONTENT_LENGTH.exec(head)?.[1] ?? 0);
    const end = headEnd + HEAD_END.length + length;
    if (received.length < end) return;
    settle({
      status: Number(head.slice(STATUS_AT, STATUS_AT + 3)),
      body: received.toString('utf8', headEnd + HEAD_END.length, end),
    });
  }

  return {
    send: (bytes, answered) => {
      waiting = answered;
      socket.write(bytes);
    },
    close: () => {
      closed = true;
      socket.destroy();
    },
  };
}
