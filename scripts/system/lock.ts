// One launcher per data folder: a file that names the process that holds it.
import { linkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { CannotRun } from './cannot-run.ts';
import type { Layout } from './layout.ts';
import { identityOf } from './processes.ts';
import { readIfThere } from './run-file.ts';

const holderSchema = z.object({ pid: z.int(), identity: z.string() });
export type Holder = z.infer<typeof holderSchema>;

/** Two starts may both find a dead holder and both take its place; the later wins, and the other sees it after this. */
const SETTLE_MS = 50;

/** Another live process runs this data folder, or is starting it. */
export class AlreadyRunning extends CannotRun {
  readonly holder: Holder;

  constructor(layout: Layout, holder: Holder) {
    super(`Ballast runs in ${layout.root} already (launcher pid ${holder.pid}).`);
    this.holder = holder;
  }
}

/** The live process that holds the folder, if any. */
export function holderOf(layout: Layout): Holder | undefined {
  const text = readIfThere(layout.lock);
  if (text === undefined) return undefined;
  const holder = holderSchema.parse(JSON.parse(text));
  return identityOf(holder.pid) === holder.identity ? holder : undefined;
}

export function ourselves(): Holder {
  const identity = identityOf(process.pid);
  if (identity === undefined) throw new Error('BUG: this process does not exist');
  return { pid: process.pid, identity };
}

/** Rejects with AlreadyRunning. */
export async function takeLock(layout: Layout): Promise<{ release(): void }> {
  const us = ourselves();
  const text = JSON.stringify(us);
  const ticket = `${layout.lock}.${process.pid}`;
  writeFileSync(ticket, text, { mode: 0o600 });
  try {
    linkSync(ticket, layout.lock); // fails when it is there: whole, or not at all
    rmSync(ticket);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const holder = holderOf(layout);
    if (holder !== undefined) {
      rmSync(ticket);
      throw new AlreadyRunning(layout, holder);
    }
    renameSync(ticket, layout.lock);
    await pause(SETTLE_MS);
  }
  const now = holderOf(layout);
  if (now?.pid !== us.pid) throw new AlreadyRunning(layout, now ?? us);
  return {
    release: () => {
      if (readIfThere(layout.lock) === text) rmSync(layout.lock, { force: true });
    },
  };
}
