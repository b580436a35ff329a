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
  -- Why nothing further is applied for this order: an event is missing, or one could not be applied. Null: it flows.
  waits_for text check (waits_for in ('gap', 'parked')),
  -- The furthest event known while it waited, held or not: it waits until it has reached this one.
  seen_generation integer not null default 0,
  seen_version integer not null default 0,
  primary key (order_id, source)
) with (fillfactor = 80); -- room for the next version on the same page
create index consumer_position_waiting on consumer_position (order_id) where waits_for is not null;

-- Events that came before an earlier one of their order, or whose order is parked. Bounded in number by the consumer.
create table consumer_held (
  order_id uuid not null,
  source text not null,
  version integer not null,
  generation integer not null,
  event jsonb not null,
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
  event jsonb not null,
  tries integer not null default 1,
  parked_at timestamptz not null default clock_timestamp(),
  primary key (order_id, source, version, generation)
);

-- How far each way that watermarks come on has got. The direct route is one stream with everything in it; a topic is as
-- many streams as it has partitions, and proves something for all orders only up to the least of them.
create table consumer_watermark (
  source text not null,
  node text not null,
  stream text not null,
  -- Of how many streams this is one.
  streams integer not null check (streams >= 1),
  generation integer not null,
  value timestamptz not null,
  primary key (source, node, stream)
);
