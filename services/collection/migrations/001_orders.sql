-- The order database. merchant_id stands first in every key (orders can be distributed by merchant), money is bigint
-- minor units, the hot tables are partitioned through the id itself: a UUIDv7 begins with its time, so a range of ids is
-- a range of time, look-ups by id prune themselves, and no date column is carried along. workers/partitions.ts makes
-- the partitions; there is no default partition, a missing one is an error one sees. No foreign keys between hot tables.

create function assert_same_count(a bigint, b bigint) returns bigint language plpgsql immutable as $$
begin
  if a <> b then
    raise exception 'rows do not belong together: % and %', a, b using errcode = 'BL001';
  end if;
  return a;
end $$;

-- One row per order, carrying both identities a terminal knows its payment by. It cannot be partitioned: the unique
-- indexes are the idempotency. Hashes are the first 128 bits of SHA-256 over live or test, the terminal's id, for key_hash a
-- secret, and the identity.
-- A void that came before its payment holds the row of that payment's number, with order_id null.
-- similar_hash: terminal, card and amount, for suspected duplicates; null where they are not looked for.
create table payment_key (
  merchant_id uuid not null,
  key_hash uuid not null,
  trace_hash uuid not null,
  similar_hash uuid,
  order_id uuid,
  created_at timestamptz not null default now(),
  primary key (merchant_id, key_hash),
  unique (merchant_id, trace_hash)
);
-- The cleaner's. A btree: from the eighth day on vacuumed room is used again by new rows, so that rows of every age share
-- every block, and a BRIN range would match everywhere.
create index payment_key_created on payment_key (created_at);
create index payment_key_similar on payment_key (merchant_id, similar_hash) where similar_hash is not null;

create table orders (
  merchant_id uuid not null,
  order_id uuid not null,
  terminal_id uuid not null,
  livemode boolean not null,
  status text not null check (status in ('processing', 'approved', 'declined', 'in_doubt', 'not_completed', 'cancelled',
    'reversing', 'reversed', 'reversal_refused')),
  version integer not null check (version >= 1),
  amount bigint not null check (amount > 0),
  currency text not null check (length(currency) = 3),
  approved_amount bigint check (approved_amount > 0),
  method text not null check (method in ('card', 'code')),
  channel text not null,
  batch_number text not null,
  trace_number text not null,
  merchant_reference text,
  -- Keyed fingerprint of the card number or payment code, for "same request?" and "same card again?".
  instrument_fingerprint bytea not null,
  card_bin text,
  card_last_four text,
  card_sealed bytea,
  phone_sealed bytea,
  user_id text,
  device jsonb,
  discounts jsonb,
  transaction_time timestamptz not null,
  accepted_at timestamptz not null,
  approve_until timestamptz not null,
  voidable_until timestamptz not null,
  window_closed boolean not null default false,
  business_date date not null,
  -- The attempt that is under way or was the last; 0: none (voided before anything was sent).
  attempt_no integer not null check (attempt_no >= 0),
  -- Who may move this order now. Every move is guarded on this row alone: on owner and epoch, or on its version.
  lease_owner text not null,
  lease_epoch integer not null,
  lease_until timestamptz not null,
  -- What the resolver does with the last attempt once lease_until has passed; null: nothing (ended, or with a person).
  work text check (work in ('inquire', 'reverse')),
  void_requested boolean not null default false,
  decline_code text,
  reason text,
  -- What the terminal was finally told, byte for byte; written once by whatever first ends its question.
  answer text,
  answer_status text check (answer_status in ('approved', 'declined', 'not_completed', 'cancelled')),
  check ((answer is null) = (answer_status is null)),
  primary key (merchant_id, order_id)
) partition by range (order_id);

-- The resolver's candidates, over all merchants: each channel's inquiries and reversals are lines of their own, so that a
-- bank that does not answer stands in nobody else's way.
create index orders_work on orders (channel, work, lease_until) where work is not null;

create table attempt (
  merchant_id uuid not null,
  order_id uuid not null,
  attempt_no integer not null check (attempt_no >= 1),
  state text not null check (state in ('sent', 'approved', 'declined', 'in_doubt', 'not_sent', 'not_found', 'reversing',
    'reversed', 'reversal_refused', 'needs_person')),
  channel text not null,
  bank_reference text not null,
  bank_merchant_number text not null,
  bank_terminal_number text not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  livemode boolean not null,
  -- The last moment at which our request could have left: "not found" is final only a bank's horizon later.
  last_send_at timestamptz not null,
  -- Inquiries, and then reversals, begun so far: counted before the call, so that a repeat always carries its mark.
  tries integer not null default 0,
  approved_amount bigint,
  rrn text,
  authorization_code text,
  bank_code text,
  reason text,
  evidence jsonb,
  primary key (merchant_id, order_id, attempt_no)
) partition by range (order_id);

-- What exhausted its tries, or what the bank will not give back: with a person, until one says what to do, or has seen that
-- nothing can be done (payments/try-again.ts, payments/settle-by-proof.ts). `version` is the order's at the time.
create table person_case (
  merchant_id uuid not null,
  order_id uuid not null,
  version integer not null,
  attempt_no integer not null,
  channel text not null,
  reason text not null,
  evidence jsonb,
  opened_at timestamptz not null default clock_timestamp(),
  closed_at timestamptz,
  closed_by text,
  action text,
  proof text,
  check ((closed_at is null) = (action is null)),
  primary key (merchant_id, order_id, version)
);
create index person_case_open on person_case (opened_at) where closed_at is null;
create index person_case_closed on person_case (closed_at) where closed_at is not null; -- the cleaner's

-- Answers that came late, twice, or were not the answer to what was asked: kept for people, bounded by the cleaner.
create table odd_answer (
  merchant_id uuid not null,
  odd_id uuid not null,
  order_id uuid not null,
  attempt_no integer not null,
  channel text not null,
  operation text not null,
  kind text not null,
  effect text not null,
  bank_reference text not null,
  evidence jsonb,
  received_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, odd_id)
);
create index odd_answer_received on odd_answer (received_at);

-- The journal: audit trail, stream and durable buffer in one. Append-only; written in the order's own statement, the
-- version taken under the order's row lock. xid is what recovery of a lost slot compares with kept snapshots.
create table order_event (
  merchant_id uuid not null,
  order_id uuid not null,
  version integer not null,
  type text not null,
  livemode boolean not null,
  generation integer not null,
  xid bigint not null default pg_current_xact_id()::text::bigint,
  occurred_at timestamptz not null default clock_timestamp(),
  traceparent text,
  data jsonb not null,
  primary key (merchant_id, order_id, version)
) partition by range (order_id);
create index order_event_xid on order_event using brin (xid) with (autosummarize = on);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'BL002';
end $$;
create trigger order_event_append_only before update or delete on order_event
  for each row execute function refuse_change();
-- A statement's trigger is not inherited: workers/partitions.ts gives each partition one of its own.
create trigger order_event_no_truncate before truncate on order_event
  for each statement execute function refuse_change();

-- Raised by failover or restore: a restored database would issue the same versions again with other content.
create table source_generation (
  one boolean primary key default true check (one),
  generation integer not null check (generation >= 1)
);
insert into source_generation (generation) values (1);

-- Each raise, kept for ever. What is not visible in `since` belongs to that generation whatever its row says: payments are
-- written before anybody has noticed that the history was replaced.
create table generation_raised (
  generation integer primary key check (generation >= 2),
  since pg_snapshot not null,
  -- What was decided before it, `since` sees: what older generations issued at that time or later may be lost.
  replaced_from timestamptz not null,
  reason text not null,
  raised_by text not null,
  raised_at timestamptz not null default clock_timestamp()
);
-- This cluster. A dump takes rows to another one, where transaction ids mean nothing of what they meant here.
create function this_system() returns bigint language sql stable as $$
  select system_identifier from pg_control_system()
$$;

-- One row a second, also when idle; everything decided before `value` stands before the row in commit order. Pruned. What
-- `snapshot` sees was committed before it: a restored database tells by its newest row how far its history is an old one,
-- if it is the same cluster's.
create table journal_watermark (
  id bigint generated always as identity primary key,
  node text not null,
  value timestamptz not null,
  snapshot pg_snapshot not null default pg_current_snapshot(),
  system bigint not null default this_system(),
  written_at timestamptz not null default clock_timestamp()
);

-- By whoever finds that the history was replaced, once for each time: null when the generation is not `seen` any more.
-- Payments that run meanwhile are not waited for: what `since` does not see is of the new generation. `since` is the snapshot of
-- a watermark, or sees one's whole; one that sees nothing has nothing in common with what was before.
create function raise_generation(seen integer, next integer, since pg_snapshot, reason text, raised_by text)
returns boolean language sql as $$
  with raised as (update source_generation set generation = next where generation = seen returning generation)
  insert into generation_raised (generation, since, replaced_from, reason, raised_by)
  select generation, since, coalesce((
      select value from journal_watermark w
      where system = this_system()
        and (w.snapshot::text = since::text or pg_snapshot_xmax(w.snapshot) <= pg_snapshot_xmin(since))
      order by id desc limit 1), 'epoch'), reason, raised_by
  from raised returning true
$$;
-- Whether refund has been told of a time already (payments/orders.sql.ts, voidOrder).
create index journal_watermark_value on journal_watermark (value);

create publication ballast_journal for table order_event, journal_watermark, generation_raised
  with (publish = 'insert', publish_via_partition_root = true);

create function rfc3339(at timestamptz) returns text language sql stable as $$
  select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- The order's whole public state, the `data` of every event (contracts: OrderState). No card number, in any form.
create function order_state(o orders, a attempt) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'order_id', o.order_id, 'merchant_id', o.merchant_id, 'terminal_id', o.terminal_id, 'livemode', o.livemode,
    'version', o.version, 'status', o.status, 'amount', o.amount, 'currency', o.currency,
    'approved_amount', o.approved_amount, 'method', o.method, 'channel', o.channel, 'batch_number', o.batch_number,
    'trace_number', o.trace_number, 'merchant_reference', o.merchant_reference, 'card_bin', o.card_bin,
    'card_last_four', o.card_last_four, 'user_id', o.user_id, 'device', o.device, 'discounts', o.discounts,
    'decline_code', o.decline_code, 'reason', o.reason, 'answer', o.answer_status,
    'business_date', to_char(o.business_date, 'YYYY-MM-DD'), 'accepted_at', rfc3339(o.accepted_at),
    'approve_until', rfc3339(o.approve_until), 'voidable_until', rfc3339(o.voidable_until),
    'void_requested', o.void_requested, 'window_closed', o.window_closed,
    'attempt', case when (a).attempt_no is null then null else jsonb_build_object(
      'attempt', (a).attempt_no, 'state', (a).state, 'channel', (a).channel, 'bank_reference', (a).bank_reference,
      'rrn', (a).rrn, 'authorization_code', (a).authorization_code, 'bank_code', (a).bank_code, 'reason', (a).reason) end)
$$;

-- What a learning does to an order; null: nothing. The same decision as moveOf in payments/payment.ts (a test walks both
-- through every case). An expression of its arguments alone, so that the planner inlines it into the one UPDATE.
create function order_after(status text, learning text, void_requested boolean, late boolean, other_amount boolean)
returns text language sql immutable as $$
  select case
    when status = 'reversing' then
      case learning when 'reversed' then 'reversed' when 'not_found' then 'reversed'
        when 'reversal_refused' then 'reversal_refused' end
    when status in ('processing', 'in_doubt') then
      case learning
        when 'unwanted' then case when status = 'in_doubt' then 'reversing' end
        when 'approved' then case when void_requested or late or other_amount then 'reversing' else 'approved' end
        when 'declined' then 'declined'
        when 'in_doubt' then case when status = 'processing' then
          case when void_requested then 'reversing' else 'in_doubt' end end
        when 'not_sent' then case when status = 'processing' then
          case when void_requested then 'cancelled' else 'not_completed' end end
        when 'not_found' then case when status = 'in_doubt' then 'not_completed' end
      end
  end
$$;
