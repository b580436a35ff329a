// Who follows, and what each process has applied: asked after every change, for up to a second.
import type { Knex } from '@ballast/database';
import { instancesSql } from './reads.sql.ts';

export interface InstanceReport {
  readonly name: string;
  readonly service: string;
  readonly pid: number;
  readonly generation: number;
  readonly appliedVersion: number;
  readonly source: string;
  readonly problem: string | null;
  readonly silentMs: number;
  /** False: what it applied is of a generation before the database's present one. */
  readonly isCurrent: boolean;
}

export interface Applied {
  readonly applied: readonly InstanceReport[];
  readonly lagging: readonly InstanceReport[];
}

/** Promise 9: within one second on every instance that is connected. */
const APPLIED_WITHIN_MS = 1_000;
const LOOK_EVERY_MS = 20;
/** A process that was not heard of for so long is not waited for, only named. Followers report every second. */
const CONNECTED_MS = 3_000;

/** Until every connected process reports the version, or the second is over. The change itself is committed already. */
export async function waitApplied(knex: Knex, version: number): Promise<Applied> {
  const until = performance.now() + APPLIED_WITHIN_MS;
  for (;;) {
    // An error here says nothing about the change: who applied it is not known yet.
    const instances = await readInstances(knex).catch(() => null);
    const isApplied = (one: InstanceReport) => one.isCurrent && one.appliedVersion >= version && one.problem === null;
    const lagging = instances?.filter((one) => !isApplied(one)) ?? [];
    const awaited = instances === null || lagging.some((one) => one.silentMs < CONNECTED_MS);
    if (!awaited || performance.now() >= until) return { applied: instances?.filter(isApplied) ?? [], lagging };
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

export async function readInstances(knex: Knex): Promise<InstanceReport[]> {
  const { rows } = await knex.raw(instancesSql);
  return rows.map(({ applied_version, silent_ms, is_current, ...row }: InstanceRow) => ({
    ...row,
    appliedVersion: applied_version,
    silentMs: Math.round(silent_ms),
    isCurrent: is_current,
  }));
}

interface InstanceRow extends Pick<InstanceReport, 'name' | 'service' | 'pid' | 'generation' | 'source' | 'problem'> {
  readonly applied_version: number;
  readonly silent_ms: number;
  readonly is_current: boolean;
}
