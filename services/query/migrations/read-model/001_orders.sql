-- The read model of orders, made from order events and from nothing else. No statement names a schema: the same files
-- make `read_model`, and `read_model_next` while a rebuild runs.
--
-- Partitioned by week through the id (a UUIDv7 begins with its time); read-model/partitions.ts makes the partitions and
-- drops them after the retention, so neither table grows without a bound. Merchant and livemode stand first in every
-- key: no look-up crosses them, and a page of test orders does not walk over the live ones.

-- One row per order: everything a merchant filters by or sees in a list, as its last event left it.
create table merchant_order (
  merchant_id uuid not null,
  livemode boolean not null,
  order_id uuid not null,
  generation integer not null,
  version integer not null,
  status text not null,
  amount bigint not null,
  currency text not null,
  approved_amount bigint,
  method text not null,
  channel text,
  terminal_id uuid not null,
  batch_number text not null,
  trace_number text not null,
  merchant_reference text,
  card_bin text,
  card_last_four text,
  authorization_code text,
  rrn text,
  decline_code text,
  reason text,
  answer text,
  void_requested boolean not null,
  business_date date not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (merchant_id, livemode, order_id)
) partition by range (order_id);

-- Four indexes with the primary key, and no more. Their columns never change in an order's life, so its later events
-- touch no index (heap-only updates). Each ends with order_id: a page is read in its order, from where the last one ended.
-- The other filters walk one of these, a bounded stretch at a time (orders/list-orders.ts).
create index merchant_order_reference on merchant_order (merchant_id, livemode, merchant_reference, order_id)
  where merchant_reference is not null;
create index merchant_order_last_four on merchant_order (merchant_id, livemode, card_last_four, order_id)
  where card_last_four is not null;
create index merchant_order_trace on merchant_order (merchant_id, livemode, trace_number, order_id);

-- The story: every event with the order's state after it. `json`, not `jsonb`: it is told again as it came, never queried.
create table order_story (
  merchant_id uuid not null,
  livemode boolean not null,
  order_id uuid not null,
  version integer not null,
  generation integer not null,
  type text not null,
  occurred_at timestamptz not null,
  state json not null,
  primary key (merchant_id, livemode, order_id, version)
) partition by range (order_id);
