// A control database of one's own, and followers in this process or in processes of their own.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { freshDatabase } from '@ballast/database/testing';
import { afterAll } from 'vitest';
import {
  type Actor,
  type Change,
  type ControlFollower,
  type ControlState,
  type ControlStore,
  channelTarget,
  type FollowOptions,
  followControl,
  migrateControl,
  openControlStore,
  type Role,
} from '../../src/index.ts';

export async function freshControl(label: string) {
  const database = await freshDatabase(`control_${label}`);
  await migrateControl(database.url);
  const stateDir = freshDir();
  const store = openControlStore({ url: database.url, stateDir });
  await signInFirst(store);
  return { ...database, store, stateDir };
}

const directories: string[] = [];
// Registered first, so it runs last: when the file's own followers and stores are closed.
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

export function freshDir(): string {
  const directory = mkdtempSync(join(tmpdir(), 'ballast-control-'));
  directories.push(directory);
  return directory;
}

export const ADMIN = 'ops@example.test';
export const PASSWORD = 'correct horse battery';
let admin: Actor | undefined;

/** The database's first admin, by whom `seeing` changes it. */
export async function signInFirst(store: ControlStore): Promise<Actor> {
  await store.addFirstAdmin({ name: ADMIN, password: PASSWORD }, 'a test');
  admin = await store.signIn({ name: ADMIN, password: PASSWORD, purpose: 'a test' });
  return admin;
}

/** Another operator of the same database, signed in. */
export async function signInAnother(store: ControlStore, name: string, role: Role): Promise<Actor> {
  const by = { ...(await seeing(store, '')), seen: await store.versionOf('operators') };
  await store.addOperator({ name, role, password: PASSWORD }, by);
  return store.signIn({ name, password: PASSWORD, purpose: 'a test' });
}

/** By somebody who looked a moment ago. */
export async function seeing(
  store: ControlStore,
  channel: string,
  reason = 'a test',
  by: Actor | undefined = admin,
): Promise<Change> {
  if (by === undefined) throw new Error('BUG: nobody has signed in');
  return { by, reason, seen: await store.versionOf(channelTarget(channel)) };
}

export const quiet = { info: () => undefined, warn: () => undefined };

export interface TestFollower extends ControlFollower {
  readonly seen: ControlState[];
}

export async function follow(url: string | undefined, options: Partial<FollowOptions> = {}): Promise<TestFollower> {
  const seen: ControlState[] = [];
  const follower = await followControl({
    url,
    service: 'test',
    instance: 'test-1',
    stateDir: freshDir(),
    onChange: (state) => seen.push(state),
    log: quiet,
    ...options,
  });
  return { ...follower, seen };
}

/** What a follower's process last printed. */
export interface Printed {
  readonly source: string;
  readonly version: number;
  readonly gates: readonly string[];
}

export interface FollowerProcess {
  readonly instance: string;
  readonly child: ChildProcess;
  last(): Printed | undefined;
  kill(): Promise<void>;
}

export function followerProcess(url: string, instance: string, stateDir: string): FollowerProcess {
  const script = fileURLToPath(new URL('follower.ts', import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify({ url, instance, stateDir })], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let last: Printed | undefined;
  createInterface({ input: child.stdout }).on('line', (line) => {
    last = JSON.parse(line) as Printed;
  });
  return {
    instance,
    child,
    last: () => last,
    kill: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
