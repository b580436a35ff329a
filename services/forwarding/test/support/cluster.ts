// Whole PostgreSQL clusters of a test's own: backed up by a copy of their files, restored, and followed by a standby. The
// embedded package has no pg_basebackup; pg_backup_start, a copy and pg_backup_stop are what it would do.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, runAs, type Server, startServer } from '@ballast/database/embedded';
import { freshCluster, waitFor } from '@ballast/database/testing';
import pg from 'pg';

export interface Cluster {
  readonly port: number;
  /** As `start` found it last. */
  server(): Server;
  start(settings?: Readonly<Record<string, string>>): Promise<void>;
  /** All of its processes, at once. */
  kill(): Promise<void>;
  /** For `started`: also closed after a test that failed, or it would run for ever. */
  readonly pid: number;
  /** Its files as they are now, with the log that belongs to them, under another name. */
  backUp(name: string): Promise<string>;
  /** Its files become those of a backup; not while it runs. */
  restore(backup: string): void;
  /** Another one, whose files are a backup of this one, not started yet. */
  standbyFrom(backup: string): Promise<Cluster>;
  close(): Promise<void>;
}

const defaults = { max_slot_wal_keep_size: '64MB', shared_buffers: '64MB' };

export async function makeCluster(label: string): Promise<Cluster> {
  const directory = mkdtempSync(join(tmpdir(), `ballast-${label}-`));
  chmodSync(directory, 0o711); // entered by the user that PostgreSQL runs as
  freshCluster(join(directory, 'data'));
  const cluster = await clusterIn(directory, 'data');
  const close = cluster.close.bind(cluster);
  return Object.assign(cluster, { close: () => close().then(() => rmSync(directory, { recursive: true })) });
}

async function clusterIn(directory: string, name: string): Promise<Cluster> {
  const port = await freePort();
  const dataDir = join(directory, name);
  let server: Server | undefined;
  let killed = true;
  const others: Cluster[] = [];

  const running = () => {
    if (server === undefined) throw new Error('the cluster was never started');
    return server;
  };

  return {
    port,
    server: running,
    start: async (settings = {}) => {
      server = await startServer({ dataDir, logFile: `${dataDir}.log`, port, settings: { ...defaults, ...settings } });
      killed = false;
    },
    get pid() {
      return running().pid;
    },
    kill: async () => {
      const client = new pg.Client(running().url('postgres'));
      client.on('error', () => undefined); // its own end
      await client.connect();
      process.kill(running().pid, 'SIGSTOP'); // it makes no new ones
      const { rows } = await client.query<{ pid: number }>('select pid from pg_stat_activity');
      const pids = [running().pid, ...rows.map(({ pid }) => pid)];
      process.kill(running().pid, 'SIGKILL'); // the others end when they see it
      killed = true;
      await waitFor('its processes to be gone', () => pids.every(isGone));
    },
    backUp: async (to) => {
      const target = join(directory, to);
      const client = new pg.Client(running().url('postgres'));
      await client.connect();
      await client.query(`select pg_backup_start('test', true)`);
      copy(dataDir, target);
      const { rows } = await client.query('select labelfile from pg_backup_stop(false)');
      await client.end();
      copy(join(dataDir, 'pg_wal'), join(target, 'pg_wal'));
      writeFileSync(join(target, 'backup_label'), rows[0].labelfile);
      for (const file of ['postmaster.pid', 'postmaster.opts']) rmSync(join(target, file), { force: true });
      own(target);
      return target;
    },
    restore: (backup) => {
      rmSync(dataDir, { recursive: true });
      copy(backup, dataDir);
    },
    standbyFrom: async (backup) => {
      const standby = await clusterIn(directory, `${name}-standby`);
      copy(backup, join(directory, `${name}-standby`));
      copyFileSync(`${dataDir}.password`, join(directory, `${name}-standby.password`));
      writeFileSync(join(directory, `${name}-standby`, 'standby.signal'), '');
      own(join(directory, `${name}-standby`));
      others.push(standby);
      return standby;
    },
    close: async () => {
      for (const other of others) await other.close();
      if (!killed) await server?.stop();
    },
  };
}

/** Also one that is dead and that nobody has reaped. */
function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform === 'linux' && readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return true; // there is no such process
  }
}

function copy(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  // A file that goes away meanwhile is in the log.
  const { stderr } = spawnSync('cp', ['-a', from, to], { encoding: 'utf8' });
  if (/(?<!No such file or directory)\n/.test(stderr)) throw new Error(stderr);
}

function own(directory: string): void {
  const as = runAs();
  if (as !== undefined) spawnSync('chown', ['-R', `${as.uid}:${as.gid}`, directory]);
}
