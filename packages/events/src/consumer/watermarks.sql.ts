// Every statement on consumer_watermark and consumer_stream.
import type { Knex } from 'knex';
import type { Proven, StreamPosition } from './watermarks.ts';

/** Whose watermarks: one database of one source. */
export interface Node {
  readonly source: string;
  readonly node: string;
}

export type ProvenOfNode = Node & Proven;

const asMark = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** Locks the node's row, and makes it where there is none: instances that share this database take turns. */
export async function lockProven(trx: Knex.Transaction, { source, node }: Node): Promise<Proven> {
  await trx.raw(
    `insert into consumer_watermark (source, node, generation, value) values (?, ?, 0, 'epoch') on conflict do nothing`,
    [source, node],
  );
  const { rows } = await trx.raw<{ rows: Proven[] }>(
    `select generation, ${asMark('value')} as value from consumer_watermark where source = ? and node = ? for update`,
    [source, node],
  );
  if (rows[0] === undefined) throw new Error('BUG: the row that was just made is not there');
  return rows[0];
}

export async function storeProven(trx: Knex.Transaction, { source, node }: Node, proven: Proven): Promise<void> {
  await trx.raw('update consumer_watermark set generation = ?, value = ?::timestamptz where source = ? and node = ?', [
    proven.generation,
    proven.value,
    source,
    node,
  ]);
}

/** Of each node of which something has come without a hole: all that there is to be told of how far this consumer is. */
export async function readReached(knex: Knex): Promise<ProvenOfNode[]> {
  const { rows } = await knex.raw<{ rows: ProvenOfNode[] }>(
    `select source, node, generation, ${asMark('value')} as value from consumer_watermark
     where value > 'epoch' order by source, node`,
  );
  return rows;
}

/** Of each node of which something is proven: nothing, while orders that a lost history may have changed are not all marked. */
export async function readWatermarks(knex: Knex): Promise<ProvenOfNode[]> {
  const { rows } = await knex.raw<{ rows: ProvenOfNode[] }>(
    `select source, node, generation, ${asMark('value')} as value from consumer_watermark w
     where value > 'epoch'
       and not exists (select from consumer_replaced r where r.source = w.source and r.marked_up_to is not null)
     order by source, node`,
  );
  return rows;
}

interface StreamRow extends Node {
  readonly route: string;
  readonly partition: number;
  readonly partitions: number;
  readonly run: string;
  readonly generation: number;
  readonly first: string;
  readonly value: string;
  readonly since: string | null;
  readonly joined: boolean;
}

/** Of all nodes, in the order of the primary key. */
export async function readStreams(knex: Knex): Promise<(StreamPosition & Node)[]> {
  const { rows } = await knex.raw<{ rows: StreamRow[] }>(
    `select source, node, route, partition, partitions, run, generation, ${asMark('first')} as first,
       ${asMark('value')} as value, ${asMark('since')} as since, joined
     from consumer_stream order by source, node, route, partition`,
  );
  return rows.map(({ source, node, route, partition, partitions, ...stretch }) => ({
    source,
    node,
    route,
    partition,
    partitions,
    stretch,
  }));
}

export async function storeStreams(
  trx: Knex.Transaction,
  { source, node }: Node,
  streams: readonly StreamPosition[],
): Promise<void> {
  await trx.raw(
    `insert into consumer_stream as s
       (source, node, route, partition, partitions, run, generation, first, value, since, joined)
     select ?, ?, t.* from unnest(?::text[], ?::int[], ?::int[], ?::uuid[], ?::int[], ?::timestamptz[],
       ?::timestamptz[], ?::timestamptz[], ?::boolean[])
       as t(route, partition, partitions, run, generation, first, value, since, joined)
     on conflict (source, node, route, partition) do update
       set partitions = excluded.partitions, run = excluded.run, generation = excluded.generation, first = excluded.first,
         value = excluded.value, since = excluded.since, joined = excluded.joined
     where (s.partitions, s.run, s.generation, s.first, s.value, s.since, s.joined) is distinct from
       (excluded.partitions, excluded.run, excluded.generation, excluded.first, excluded.value, excluded.since, excluded.joined)`,
    [
      source,
      node,
      streams.map((one) => one.route),
      streams.map((one) => one.partition),
      streams.map((one) => one.partitions),
      streams.map(({ stretch }) => stretch.run),
      streams.map(({ stretch }) => stretch.generation),
      streams.map(({ stretch }) => stretch.first),
      streams.map(({ stretch }) => stretch.value),
      streams.map(({ stretch }) => stretch.since) as string[], // knex knows of no null in an array
      streams.map(({ stretch }) => stretch.joined),
    ],
  );
}
