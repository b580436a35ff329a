-- What a consumer of order events knows about each order, kept in the subscriber's own database and changed only in the
-- transaction of the effect. order_id stands first in every key: a UUIDv7 begins with its time, so new rows go to the
-- right edge of the index, and rows older than the retention are a range.

create table consumer_position (
  order_id uuid not null,
  source text not null,
  merchant_id uuid not null,
  -- The last event applied. Version 0: none yet, because the first one that came was not the first.
  generation integer not null,
  version integer not null check (version >= 0),
  -- When it was decided, by the source's clock; null: none yet.
  occurred_at timestamptz,
  -- Why nothing further is applied for this order: an event is missing, or one could not be applied. Null: it flows.
  waits_for text check (waits_for in ('gap', 'parked')),
  -- The furthest event known while it waited, held or not: it waits until it has reached this one. Version 0 of a newer
  -- generation: what was applied last may never have happened, and anything of that generation will do.
  seen_generation integer not null default 0,
  seen_version integer not null default 0,
  primary key (order_id, source)
) with (fillfactor = 80); -- room for the next version on the same page
create index consumer_position_waiting on consumer_position (order_id) where waits_for is not null;
-- For what a lost history may have issued: the newest positions of older generations. BRIN, so that updates stay on their page.
create index consumer_position_age on consumer_position using brin (occurred_at, generation) with (autosummarize = on);

-- Events that came before an earlier one of their order, or whose order is parked. Bounded in number by the consumer.
create table consumer_held (
  order_id uuid not null,
  source text not null,
  version integer not null,
  generation integer not null,
  -- Not jsonb, which refuses what JSON can say and a text of PostgreSQL cannot: it is to be kept whatever it is.
  event json not null,
  held_at timestamptz not null default clock_timestamp(),
  primary key (order_id, source, version, generation)
);

-- Events that cannot be applied: what a person looks at. The order waits, others flow.
create table consumer_parked (
  order_id uuid not null,
  source text not null,
  merchant_id uuid not null,
  version integer not null,
  generation integer not null,
  reason text not null,
  event json not null,
  tries integer not null default 1,
  parked_at timestamptz not null default clock_timestamp(),
  primary key (order_id, source, version, generation)
);

-- Everything decided before `value` is applied, held or parked here, by whatever route it came; which proves something once
-- the source's lost histories are dealt with (consumer_replaced). Never goes back, but for a newer generation. Watermarks of one
-- node are taken one after the other, under the lock of its row.
create table consumer_watermark (
  source text not null,
  node text not null,
  -- 0: nothing is proven yet.
  generation integer not null,
  value timestamptz not null,
  primary key (source, node)
);

-- What came on each stream since its last hole (consumer/watermarks.ts). The direct route is one stream; a topic is as many
-- as it has partitions, and proves as much as the least of them.
create table consumer_stream (
  source text not null,
  node text not null,
  route text not null,
  partition integer not null,
  partitions integer not null check (partitions >= 1),
  run uuid not null,
  generation integer not null,
  first timestamptz not null,
  value timestamptz not null,
  since timestamptz,
  joined boolean not null,
  primary key (source, node, route, partition)
);

-- What the watermarks taken here have said of lost histories: what a generation before `generation` issued at
-- `replaced_from` or later may never have happened. One row an incident.
create table consumer_replaced (
  source text not null,
  generation integer not null,
  replaced_from timestamptz not null,
  -- Orders up to this one are marked that may have more than there is; null: all are. No watermark of the source is proven before.
  marked_up_to uuid default '00000000-0000-0000-0000-000000000000',
  primary key (source, generation)
);
