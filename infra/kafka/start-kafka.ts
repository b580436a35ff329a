// One real Kafka of one node or three, without containers: found running, or started; stopped, killed, paused.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { freePort } from '@ballast/database/embedded';
import { fetchBroker } from './fetch-broker.ts';
import {
  endNode,
  formatNode,
  freezeNode,
  launchNode,
  livingPid,
  type NodeFiles,
  nodeData,
  nodeLog,
  signalNode,
  takesConnections,
  untilListening,
  writeSettings,
} from './node-process.ts';
import { type NodePlace, nodeSettings } from './node-settings.ts';
import { ADMIN_USER, openSecurity, type Security } from './security.ts';

export interface KafkaOptions {
  readonly dataDir: string;
  readonly brokers: 1 | 3;
  /** SASL_SSL with SCRAM-SHA-512 and ACLs, for these users and an admin. Without it: plain text, nobody asked. */
  readonly secured?: { readonly users: readonly string[] };
  /** The ports that clients are told to use, one per node, when a proxy stands in between. Default: the nodes' own. */
  readonly advertisedPorts?: readonly number[];
}

/** What a client needs to connect; the shape of `kafka` in a service's configuration. */
export interface KafkaConnection {
  readonly brokers: readonly string[];
  readonly security?: { readonly ca: string; readonly username: string; readonly password: string };
}

export interface RunningKafka {
  readonly bootstrap: readonly string[];
  /** Where the nodes themselves listen. */
  readonly ports: readonly number[];
  /** True: every node ran already. */
  readonly adopted: boolean;
  /** `user` is asked for only when the cluster is secured; default: the admin. */
  connection(user?: string): KafkaConnection;
  pid(node: number): number | undefined;
  logFile(node: number): string;
  /** kill -9; resolves when the process is gone. Nodes are counted from 0. */
  kill(node: number): Promise<void>;
  /** Starts the node again on the same ports with the same data; resolves when it takes connections. */
  restart(node: number): Promise<void>;
  /** SIGSTOP: sockets stay open, nothing answers. Resolves when all of it stands still. */
  pause(node: number): Promise<void>;
  resume(node: number): void;
  /** Clean shutdown of every node. The data stay. */
  stop(): Promise<void>;
}

interface ClusterFile {
  readonly cluster_id: string;
  readonly secured: boolean;
  readonly nodes: readonly NodePlace[];
}

export async function startKafka({ dataDir, brokers, secured, advertisedPorts }: KafkaOptions): Promise<RunningKafka> {
  const classPath = await fetchBroker();
  const base = resolve(dataDir);
  mkdirSync(base, { recursive: true });
  const known = readCluster(base);
  if (known !== undefined && (known.nodes.length !== brokers || known.secured !== (secured !== undefined)))
    throw new Error(
      `${base} holds a Kafka of ${known.nodes.length} nodes, secured: ${known.secured}. Use another folder.`,
    );
  const security = secured === undefined ? undefined : openSecurity(join(base, 'security'), secured.users);
  const files = Array.from(
    { length: brokers },
    (_, node): NodeFiles => ({ directory: join(base, `node-${node}`), classPath }),
  );
  if (known !== undefined && (await allRun(known, files))) return runningKafka(known, files, security, true);
  await Promise.all(files.map(({ directory }) => endNode(directory, ['SIGTERM', 'SIGKILL'])));
  const cluster: ClusterFile = {
    cluster_id: known?.cluster_id ?? randomBytes(16).toString('base64url'),
    secured: secured !== undefined,
    nodes: await choosePlaces(known?.nodes, brokers, advertisedPorts),
  };
  writeFileSync(clusterFile(base), JSON.stringify(cluster), { mode: 0o600 });
  await Promise.all(files.map((node, index) => prepare(node, cluster, index, security)));
  for (const node of files) launchNode(node);
  try {
    await Promise.all(cluster.nodes.map(({ port }, index) => untilListening(at(files, index).directory, port)));
  } catch (error) {
    await Promise.all(files.map(({ directory }) => endNode(directory, ['SIGKILL'])));
    throw error;
  }
  return runningKafka(cluster, files, security, false);
}

async function prepare(node: NodeFiles, cluster: ClusterFile, index: number, security: Security | undefined) {
  const place = at(cluster.nodes, index);
  writeSettings(node.directory, nodeSettings(place, cluster.nodes, nodeData(node.directory), security));
  const users = Object.entries(security?.passwords ?? {});
  await formatNode(
    node,
    cluster.cluster_id,
    users.map(([name, password]) => `SCRAM-SHA-512=[name=${name},password=${password}]`),
  );
}

function runningKafka(
  cluster: ClusterFile,
  files: readonly NodeFiles[],
  security: Security | undefined,
  adopted: boolean,
): RunningKafka {
  const bootstrap = cluster.nodes.map(({ advertisedPort }) => `127.0.0.1:${advertisedPort}`);
  const directory = (node: number) => at(files, node).directory;
  return {
    bootstrap,
    ports: cluster.nodes.map(({ port }) => port),
    adopted,
    connection: (user = ADMIN_USER) => {
      if (security === undefined) return { brokers: bootstrap };
      const password = security.passwords[user];
      if (password === undefined) throw new Error(`No such Kafka user: ${user}`);
      return { brokers: bootstrap, security: { ca: readFileSync(security.caFile, 'utf8'), username: user, password } };
    },
    pid: (node) => livingPid(directory(node)),
    logFile: (node) => nodeLog(directory(node)),
    kill: (node) => endNode(directory(node), ['SIGKILL']),
    restart: async (node) => {
      await endNode(directory(node), ['SIGTERM', 'SIGKILL']);
      launchNode(at(files, node));
      await untilListening(directory(node), at(cluster.nodes, node).port);
    },
    pause: (node) => freezeNode(directory(node)),
    resume: (node) => signalNode(directory(node), 'SIGCONT'),
    // All at once: the last of three controllers could not hand over its leadership without the others.
    stop: async () => {
      await Promise.all(files.map((node) => endNode(node.directory, ['SIGTERM', 'SIGKILL'])));
    },
  };
}

async function allRun(cluster: ClusterFile, files: readonly NodeFiles[]): Promise<boolean> {
  if (files.some(({ directory }) => livingPid(directory) === undefined)) return false;
  for (const { directory } of files) signalNode(directory, 'SIGCONT'); // a paused one would take connections, and no more
  const answers = await Promise.all(cluster.nodes.map(({ port }) => takesConnections(port)));
  return answers.every((answer) => answer);
}

/** The ports of the last start where they are free, so that clients find the cluster again; else others. */
async function choosePlaces(
  known: readonly NodePlace[] | undefined,
  brokers: number,
  advertised: readonly number[] | undefined,
): Promise<NodePlace[]> {
  const places: NodePlace[] = [];
  for (let node = 0; node < brokers; node++) {
    const before = known?.[node];
    const keep = before !== undefined && (await isFree(before.port)) && (await isFree(before.controllerPort));
    const port = keep ? before.port : await freePort();
    const controllerPort = keep ? before.controllerPort : await freePort();
    places.push({ id: node + 1, port, controllerPort, advertisedPort: advertised?.[node] ?? port });
  }
  return places;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer();
    probe.on('error', () => done(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => done(true)));
  });
}

const clusterFile = (base: string) => join(base, 'cluster.json');

function readCluster(base: string): ClusterFile | undefined {
  return existsSync(clusterFile(base))
    ? (JSON.parse(readFileSync(clusterFile(base), 'utf8')) as ClusterFile)
    : undefined;
}

function at<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new Error(`There is no Kafka node ${index}`);
  return found;
}
