// Forwarding's admin API, as far as a rebuild needs it. Never called inside a transaction.
import { refuseInTransaction } from '@ballast/database';
import { z } from 'zod';

export interface ForwardingOptions {
  readonly url: string;
  readonly adminToken: string;
}

export interface Forwarding {
  /** Asks for every event of the journal from the first one on. */
  askReplay(): Promise<void>;
  /** Whether a replay that was asked for has been delivered whole, and how it stands in words. */
  replay(): Promise<{ readonly finished: boolean; readonly standing: string }>;
}

/** Our name in forwarding's configuration. */
const SUBSCRIBER = 'query';
const TIMEOUT_MS = 5_000;

const subscribersSchema = z.object({
  subscribers: z.array(
    z.object({ name: z.string(), rebuild: z.object({ state: z.string(), events: z.number().optional() }).nullable() }),
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

  return {
    askReplay: async () => void (await call('POST', `/admin/subscribers/${SUBSCRIBER}/rebuild`)),
    replay: async () => {
      const { subscribers } = subscribersSchema.parse(await call('GET', '/admin/subscribers'));
      const ours = subscribers.find(({ name }) => name === SUBSCRIBER);
      if (ours === undefined) throw new Error(`forwarding has no subscriber "${SUBSCRIBER}"`);
      const state = ours.rebuild?.state ?? 'done';
      return {
        finished: state === 'done',
        standing: `forwarding: replay ${state}, ${ours.rebuild?.events ?? 0} events`,
      };
    },
  };
}
