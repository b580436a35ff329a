// What a secured cluster is made of: an authority of its own, one certificate for all nodes, a random password per user.
// Made once per data folder, at run time; nothing of it is ever committed.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Security {
  readonly caFile: string;
  /** Private key and certificate of every node, PEM in one file, as Kafka reads it. */
  readonly nodeFile: string;
  readonly nodePrincipal: string;
  readonly passwords: Readonly<Record<string, string>>;
  /** Whom no ACL binds: the brokers among themselves, and whoever applies topics and ACLs. */
  readonly superUsers: readonly string[];
  readonly brokerUser: string;
}

export const ADMIN_USER = 'admin';
const BROKER_USER = 'broker';
const NODE_NAME = 'ballast-kafka-node';
const VALID_DAYS = '365';

/** Reads the security of this data folder, or makes it. `users`: who may log in, beside the admin and the brokers. */
export function openSecurity(directory: string, users: readonly string[]): Security {
  if (!existsSync(directory)) make(directory, users);
  const passwords = JSON.parse(readFileSync(join(directory, 'passwords.json'), 'utf8')) as Record<string, string>;
  const unknown = users.filter((user) => passwords[user] === undefined);
  if (unknown.length > 0)
    throw new Error(`This Kafka was formatted without the user ${unknown.join(', ')}: start it in an empty folder.`);
  return {
    caFile: join(directory, 'ca.pem'),
    nodeFile: join(directory, 'node.pem'),
    nodePrincipal: `CN=${NODE_NAME}`,
    passwords,
    superUsers: [BROKER_USER, ADMIN_USER],
    brokerUser: BROKER_USER,
  };
}

function make(directory: string, users: readonly string[]): void {
  const half = `${directory}.making`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half, { recursive: true, mode: 0o700 });
  const file = (name: string) => join(half, name);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.pem'),
    '-days',
    VALID_DAYS,
    '-subj',
    '/CN=ballast-kafka-ca',
  );
  openssl('req', ...key, '-keyout', file('node.key'), '-out', file('node.csr'), '-subj', `/CN=${NODE_NAME}`);
  writeFileSync(file('node.ext'), 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n');
  openssl(
    'x509',
    '-req',
    '-in',
    file('node.csr'),
    '-CA',
    file('ca.pem'),
    '-CAkey',
    file('ca.key'),
    '-CAcreateserial',
    '-out',
    file('node.crt'),
    '-days',
    VALID_DAYS,
    '-extfile',
    file('node.ext'),
  );
  writeFileSync(file('node.pem'), readFileSync(file('node.key')), { mode: 0o600 });
  appendFileSync(file('node.pem'), readFileSync(file('node.crt')));
  // The authority signs nothing more, so its key is not kept.
  for (const name of ['ca.key', 'ca.srl', 'node.key', 'node.csr', 'node.ext', 'node.crt'])
    rmSync(file(name), { force: true });
  const names = [BROKER_USER, ADMIN_USER, ...users];
  const passwords = Object.fromEntries(names.map((name) => [name, randomBytes(24).toString('base64url')]));
  writeFileSync(file('passwords.json'), JSON.stringify(passwords), { mode: 0o600 });
  renameSync(half, directory);
}

function openssl(...words: string[]): void {
  const { error, status, stderr } = spawnSync('openssl', words, { encoding: 'utf8' });
  if (error !== undefined)
    throw new Error('A secured Kafka needs "openssl" for its certificates, and none was found: install it.');
  if (status !== 0) throw new Error(`openssl ${words[0]} failed:\n${stderr}`);
}
