-- What decides how long a day of orders lives: who reads the journal, and which days were let go.

-- The whole id of a transaction, of which a row keeps the lower half: the newest that ends so and was given out when the
-- snapshot was taken. Right for the last four billion; a lower half that was never given out comes out below zero.
create function whole_xid(x xid) returns bigint language sql stable as $$
  select pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    - ((pg_snapshot_xmax(pg_current_snapshot())::text::bigint - x::text::bigint) & 4294967295)
$$;

-- How far each reader of the journal is: written by whoever forwards it (services/forwarding), so that nothing here asks a
-- reader anything. One row for each subscriber of each replication slot; none goes by itself: a reader that is heard of no
-- more holds what it has not read until a person retires it.
create table journal_reader (
  reader text primary key check (length(reader) between 1 and 200), -- slot/subscriber
  -- Everything visible in this snapshot was stored there. '1:1:' sees nothing: it is to have the whole journal.
  has pg_snapshot not null,
  -- Whose snapshot it is; another cluster's says nothing about this one.
  system bigint not null default this_system(),
  -- The time of that snapshot.
  covered_at timestamptz not null,
  updated_at timestamptz not null default clock_timestamp(),
  -- A person has said that it is gone for good: it holds nothing any more.
  retired_at timestamptz
);

-- Who retired which reader, why, and what it had by then.
create table journal_reader_change (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  reader text not null,
  action text not null check (action in ('retired', 'reinstated')),
  author text not null,
  reason text not null,
  has pg_snapshot not null,
  covered_at timestamptz not null
);
create trigger journal_reader_change_append_only before update or delete on journal_reader_change
  for each row execute function refuse_change();
create trigger journal_reader_change_no_truncate before truncate on journal_reader_change
  for each statement execute function refuse_change();

-- Days whose orders, attempts and journal were dropped together, or are being dropped: written before the first of the three
-- is detached, so that a process that dies in between leaves no half day behind. A row a day, for ever.
create table expired_day (
  day date primary key,
  decided_at timestamptz not null default clock_timestamp(),
  dropped_at timestamptz,
  orders bigint
);

-- Each order as one event that stands for all its versions, for a reader whose events are gone: the journal was lost, or the
-- order was restored without it. The columns of order_event; `xid` wrote the
-- order's row as it stands.
create view order_snapshot as
  select o.merchant_id, o.order_id, o.version, 'snapshot' as type, o.livemode,
    (select generation from source_generation) as generation, whole_xid(o.xmin) as xid,
    coalesce((select max(e.occurred_at) from order_event e where e.merchant_id = o.merchant_id and e.order_id = o.order_id),
      o.accepted_at) as occurred_at,
    null::text as traceparent, order_state(o, a) as data
  from orders o
  left join attempt a on a.merchant_id = o.merchant_id and a.order_id = o.order_id and a.attempt_no = o.attempt_no;
