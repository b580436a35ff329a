-- The baseline: a payment's two transactions, as one statement each, and nothing else. The same rows, checks, functions
-- and indexes as in the service's batch statements, for one payment. pgbench gives the variables; ids and hashes are
-- made here, as the service makes its own.
\set terminal random(1, 5)
\set amount random(100, 1000000)
\set batch random(100000, 999999)
\set trace random(100000, 999999)
with keys as (
  insert into payment_key (merchant_id, key_hash, trace_hash, similar_hash, order_id)
  values (:merchant::uuid, gen_random_uuid(), gen_random_uuid(), null, uuidv7())
  on conflict do nothing
  returning merchant_id, order_id
), accepted as (
  insert into orders (merchant_id, order_id, terminal_id, livemode, status, version, amount, currency, method, channel,
    batch_number, trace_number, merchant_reference, instrument_fingerprint, card_bin, card_last_four, card_sealed,
    phone_sealed, user_id, device, discounts, transaction_time, accepted_at, approve_until, voidable_until,
    business_date, attempt_no, work, lease_owner, lease_epoch, lease_until)
  select merchant_id, order_id, ('019a0000-0000-7000-8000-00000000000' || :terminal::text)::uuid, false, 'processing', 1,
    :amount::bigint, 'EUR', 'card', 'bank_a',
    :batch::text, :trace::text, :reference::text,
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), '424242', '4242', decode(:card::text, 'hex'),
    decode(:phone::text, 'hex'), 'member-1234', :device::jsonb, :discounts::jsonb, now(), now(),
    now() + 75000 * interval '1 ms', now() + 900000 * interval '1 ms', current_date, 1, 'inquire', :owner::text, 1,
    now() + 20000 * interval '1 ms'
  from keys
  returning orders as o
), sent as (
  insert into attempt (merchant_id, order_id, attempt_no, state, channel, bank_reference, bank_merchant_number,
    bank_terminal_number, amount, currency, livemode, last_send_at)
  select merchant_id, order_id, 1, 'sent', 'bank_a', upper(substr(replace(order_id::text, '-', ''), 5)), '000100000001',
    '00000001', :amount::bigint, 'EUR', false, now() + 15000 * interval '1 ms'
  from keys
  returning attempt as a
), journal as (
  insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
  select (o).merchant_id, (o).order_id, 1, 'accepted', (o).livemode, (select generation from source_generation),
    :traceparent::text, order_state(o, a)
  from accepted join sent on (a).merchant_id = (o).merchant_id and (a).order_id = (o).order_id
  returning order_id
)
select (o).order_id::text as order_id, rfc3339((o).accepted_at) as accepted_at,
  rfc3339((o).approve_until) as approve_until,
  assert_same_count((select count(*) from keys), (select count(*) from journal)) as rows
from accepted \gset
with moved as (
  update orders o set
    status = order_after(o.status, 'approved', o.void_requested, clock_timestamp() > o.approve_until,
      :amount::bigint is distinct from o.amount),
    version = o.version + 1,
    approved_amount = :amount::bigint,
    answer = coalesce(o.answer, :answer::text),
    answer_status = coalesce(o.answer_status, 'approved'),
    work = null
  where o.merchant_id = :merchant::uuid and o.order_id = :order_id::uuid
    and o.lease_owner = :owner::text and o.lease_epoch = 1 and o.attempt_no = 1
    and order_after(o.status, 'approved', o.void_requested, clock_timestamp() > o.approve_until,
      :amount::bigint is distinct from o.amount) is not null
  returning o as o
), tried as (
  update attempt a set
    state = (m.o).status, approved_amount = :amount::bigint, rrn = '123456789012', authorization_code = '123456',
    bank_code = '00', evidence = coalesce(:evidence::jsonb, a.evidence)
  from moved m
  where a.merchant_id = :merchant::uuid and a.order_id = :order_id::uuid and a.attempt_no = 1
  returning m.o as o, a as a
), journal as (
  insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
  select (o).merchant_id, (o).order_id, (o).version, (o).status, (o).livemode,
    (select generation from source_generation), :traceparent::text, order_state(o, a)
  from tried
  returning order_id
)
select (o).order_id, (o).status, (o).answer, (o).answer_status,
  assert_same_count((select count(*) from moved), (select count(*) from journal)) as rows
from moved;
