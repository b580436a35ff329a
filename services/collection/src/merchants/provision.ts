// Merchants, routes, terminals and their keys, changed by operators. A secret is shown once, when its key is issued.
import { randomBytes } from 'node:crypto';
import { Problem } from '@ballast/contracts';
import { withTransaction } from '@ballast/database';
import type { Knex } from 'knex';
import type { MasterKeys } from '../cards/master-keys.ts';
import { type Directory, type DirectoryOptions, openDirectory, type Route, secretBoundTo } from './directory.ts';
import {
  countKeysLocked,
  findMerchant,
  insertKey,
  listMerchants,
  type MerchantFields,
  putMerchant,
  putTerminal,
  replaceRoutes,
  revokeKey,
} from './merchants.sql.ts';

export type Provisioning = ReturnType<typeof openProvisioning>;

/** Who may pay, for one process: `channelModes` says of each of its channels whether it is live. */
export function openMerchants(options: DirectoryOptions): { directory: Directory; provisioning: Provisioning } {
  const directory = openDirectory(options);
  const { knex, keys, channelModes } = options;
  return {
    directory,
    provisioning: openProvisioning({ knex, keys, directory, channels: new Set(channelModes.keys()) }),
  };
}

/** One in use and one to change to. */
const MAX_LIVE_KEYS = 2;

interface ProvisioningOptions {
  readonly knex: Knex;
  readonly keys: MasterKeys;
  readonly directory: Directory;
  readonly channels: ReadonlySet<string>;
}

/** Every change is seen at once by this process and within the directory's STALE_MS by the others. */
function openProvisioning({ knex, keys, directory, channels }: ProvisioningOptions) {
  return {
    putMerchant: async (merchant: MerchantFields): Promise<void> => {
      await putMerchant(knex, merchant);
      directory.forget();
    },

    putRoutes: async (merchantId: string, routes: readonly Route[]): Promise<void> => {
      const unknown = routes.findIndex((route) => !channels.has(route.channel));
      if (unknown >= 0) {
        throw new Problem('invalid_request', `/routes/${unknown}/channel is not a channel of this installation.`, {
          errors: [{ pointer: `/routes/${unknown}/channel`, detail: `must be one of ${[...channels].join(', ')}` }],
        });
      }
      await refuseUnknownMerchant(merchantId);
      await withTransaction(knex, 'replace_routes', (trx) => replaceRoutes(trx, merchantId, routes));
      directory.forget();
    },

    putTerminal: async (terminal: { terminalId: string; merchantId: string; name: string }): Promise<void> => {
      await refuseUnknownMerchant(terminal.merchantId);
      if (!(await putTerminal(knex, terminal)))
        throw new Problem('already_exists', 'The terminal belongs to another merchant.', {
          errors: [{ pointer: '/merchant_id', detail: 'is not the merchant the terminal belongs to' }],
        });
      directory.forget();
    },

    issueKey: async (terminalId: string, livemode: boolean): Promise<{ keyId: string; secret: string }> => {
      const keyId = `key_${randomBytes(6).toString('hex')}`;
      const secret = randomBytes(32).toString('base64url');
      await withTransaction(knex, 'issue_key', async (trx) => {
        const keysNow = await countKeysLocked(trx, terminalId);
        if (keysNow === undefined) throw new Problem('not_found', 'There is no such terminal.');
        if (keysNow >= MAX_LIVE_KEYS)
          throw new Problem('already_exists', `The terminal has ${keysNow} live keys; revoke one first.`);
        const secretSealed = keys.seal(secret, secretBoundTo(terminalId, keyId));
        await insertKey(trx, { terminalId, keyId, livemode, secretSealed });
      });
      directory.forget();
      return { keyId, secret };
    },

    revokeKey: async (terminalId: string, keyId: string): Promise<void> => {
      if (!(await revokeKey(knex, terminalId, keyId)))
        throw new Problem('not_found', 'The terminal has no such live key.');
      directory.forget();
    },

    listMerchants: (after: string | undefined, limit: number) => listMerchants(knex, after, limit),
    findMerchant: (merchantId: string) => findMerchant(knex, merchantId),
  };

  async function refuseUnknownMerchant(merchantId: string): Promise<void> {
    if ((await findMerchant(knex, merchantId)) === undefined)
      throw new Problem('not_found', 'There is no such merchant.', {
        errors: [{ pointer: '/merchant_id', detail: 'is not known' }],
      });
  }
}
