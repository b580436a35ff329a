// Forwarding's admin API, as far as a rebuild needs it. Never called inside a transaction.
import { refuseInTransaction } from '@ballast/database';
import { z } from 'zod';

export interface ForwardingOptions {
  readonly url: string;
  readonly adminToken: string;
}

export interface Forwarding {
  /** Asks for every event of the journal from the first one on; resolves to the number of that replay. */
  askReplay(): Promise<number>;
  /** Whether that replay has been delivered whole, and how it stands in words. */
  replay(number: number): Promise<{ readonly finished: boolean; readonly standing: string }>;
}

/** Our name in forwarding's configuration. */
const SUBSCRIBER = 'query';
const TIMEOUT_MS = 5_000;

/** One for each source whose journal we are fed from. Replays are counted: those begun, and those delivered whole. */
const feedsSchema = z.object({
  subscribers: z.array(
    z.object({
      subscriber: z.string(),
      rebuild: z.object({ asked: z.int(), finished: z.int(), progress: z.number().nullable() }),
    }),
  ),
});

export function openForwarding({ url, adminToken }: ForwardingOptions): Forwarding {
  async function call(method: string, path: string): Promise<unknown> {
    refuseInTransaction(`forwarding ${path}`);
    const response = await fetch(new URL(path, url), {
      method,
      headers: { authorization: `Bearer ${adminToken}` },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`forwarding answered ${response.status} to ${method} ${path}`);
    return text === '' ? null : JSON.parse(text);
  }

  async function replays() {
    const { subscribers } = feedsSchema.parse(await call('GET', '/admin/subscribers'));
    const ours = subscribers.filter(({ subscriber }) => subscriber === SUBSCRIBER).map(({ rebuild }) => rebuild);
    if (ours.length === 0) throw new Error(`forwarding delivers nothing to "${SUBSCRIBER}" at present`);
    return ours;
  }

  return {
    askReplay: async () => {
      // Read first: it begins a moment after it was asked for, and until then the last one counts as finished.
      const last = Math.max(...(await replays()).map(({ asked }) => asked));
      await call('POST', `/admin/subscribers/${SUBSCRIBER}/rebuild`);
      return last + 1;
    },
    replay: async (number) => {
      const ours = await replays();
      const progress = Math.min(...ours.map((replay) => replay.progress ?? (replay.finished < number ? 0 : 1)));
      return {
        finished: ours.every(({ finished }) => finished >= number),
        standing: `replay ${number} is delivered to ${Math.floor(progress * 100)} %`,
      };
    },
  };
}
