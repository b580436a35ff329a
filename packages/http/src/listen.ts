// Where a face listens. Off loopback it refuses to start without TLS, or a TLS proxy that the operator vouches for.
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { BlockList, isIP } from 'node:net';
import { z } from 'zod';
import type { App } from './app.ts';

export const listenSchema = z.strictObject({
  host: z.string().min(1),
  /** 0: any free one. */
  port: z.int().min(0).max(65535),
  tls: z.strictObject({ cert_file: z.string().min(1), key_file: z.string().min(1) }).optional(),
  /** A proxy in front ends TLS, and nobody else can reach this address. */
  trusted_tls_proxy: z.literal(true).optional(),
});

export type ListenConfig = z.infer<typeof listenSchema>;

export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export function tlsOf(config: ListenConfig): TlsFiles | undefined {
  if (config.tls === undefined) return undefined;
  return { cert: readFileSync(config.tls.cert_file), key: readFileSync(config.tls.key_file) };
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Resolves to the base URL. Rejects for an unprotected address, or when the port is taken. */
export async function listen(app: App, config: ListenConfig): Promise<string> {
  if (config.tls === undefined && config.trusted_tls_proxy === undefined && !isLoopback(config.host)) {
    throw new Error(`refusing to listen on ${config.host} without TLS: give listen.tls, or listen.trusted_tls_proxy`);
  }
  await app.listen({ host: config.host, port: config.port });
  const { port } = app.server.address() as AddressInfo;
  return `${config.tls === undefined ? 'http' : 'https'}://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`;
}

function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  const family = isIP(host);
  return family !== 0 && loopback.check(host, family === 4 ? 'ipv4' : 'ipv6');
}
