// What an installation decides once and keeps: its secrets, random for each, and its ports.
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Layout } from './layout.ts';
import { isFree, pickPort } from './ports.ts';
import { readIfThere, writePrivate } from './run-file.ts';

/** The ports of `npm start`, where they are free. Tests and benchmarks take any. */
const usualPorts = {
  collection: 17_700,
  collection_internal: 17_701,
  query: 17_710,
  query_internal: 17_711,
  forwarding_internal: 17_721,
  bank_admin: 17_730,
  bank_a: 17_731,
  bank_b: 17_732,
  bank_c: 17_733,
  postgres_orders: 17_740,
  postgres_main: 17_741,
} as const;
export type PortName = keyof typeof usualPorts;
/** So many replaced ports are named. */
const SAID = 3;
const portNames = Object.keys(usualPorts) as PortName[];

const installationSchema = z.strictObject({
  version: z.literal(1),
  ports: z.record(z.enum(portNames as [PortName, ...PortName[]]), z.int().min(1).max(65_535)),
  secrets: z.strictObject({
    admin_token: z.string(),
    delivery_token: z.string(),
    /** Of what is sealed in the order database: without it, card numbers and phones there cannot be read again. */
    sealing_key: z.string(),
    fingerprint_key: z.string(),
  }),
});
export type Installation = z.infer<typeof installationSchema>;

export interface InstallationOptions {
  readonly ports: 'usual' | 'any';
  /** True for a listener of ours that runs already (an adopted PostgreSQL): its port is not looked at. */
  readonly runsAlready: (name: PortName) => boolean;
  readonly say: (line: string) => void;
}

/** Reads the installation, or makes it. A port that another program took meanwhile is replaced, with a sentence. */
export async function openInstallation(layout: Layout, options: InstallationOptions): Promise<Installation> {
  const text = readIfThere(layout.installation);
  const known = text === undefined ? undefined : installationSchema.parse(JSON.parse(text));
  const ports = { ...known?.ports } as Record<PortName, number>;
  const taken = new Set(Object.values(ports));
  const replaced: string[] = [];
  for (const name of portNames) {
    const wanted = ports[name] ?? (options.ports === 'usual' ? usualPorts[name] : undefined);
    if (wanted !== undefined && (options.runsAlready(name) || (await isFree(wanted)))) {
      ports[name] = wanted;
    } else {
      ports[name] = await pickPort(taken);
      if (wanted !== undefined) replaced.push(`${wanted} (${name}) by ${ports[name]}`);
    }
    taken.add(ports[name]);
  }
  if (replaced.length > 0) {
    const more = replaced.length > SAID ? `, and ${replaced.length - SAID} more` : '';
    options.say(`Ports that another program has taken are replaced: ${replaced.slice(0, SAID).join(', ')}${more}`);
  }
  const installation: Installation = { version: 1, ports, secrets: known?.secrets ?? newSecrets() };
  writePrivate(layout.installation, installation);
  return installation;
}

function newSecrets(): Installation['secrets'] {
  return {
    admin_token: randomBytes(32).toString('base64url'),
    delivery_token: randomBytes(32).toString('base64url'),
    sealing_key: randomBytes(32).toString('base64'),
    fingerprint_key: randomBytes(32).toString('base64'),
  };
}
