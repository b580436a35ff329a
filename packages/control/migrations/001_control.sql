-- The control database: what operators decide, who decided it, and which process has applied it. Every change takes the
-- lock of control_head's one row, so changes are in one order and each has a version of its own. Times are this
-- database's clock, nobody else's.

create table control_head (
  one boolean primary key default true check (one),
  -- Raised by hand after a restore: followers never go back in version unless the generation says so.
  generation integer not null default 1 check (generation >= 1),
  version bigint not null default 0,
  audit_seq bigint not null default 0,
  audit_hash bytea not null default ''
);
insert into control_head default values;

-- Rules of one target, a new row for each change, never updated. Null rules: back to the built-in ones.
-- target: 'channel:bank_a:pay' or 'limiter:merchant'.
create table rule_set (
  version bigint primary key,
  target text not null check (
    target ~ '^((channel|shadow):[a-z0-9_]{1,32}:(pay|inquiry|reversal|refund|payout)|limiter:[a-z0-9_]{1,64})$'),
  rules jsonb,
  author text not null,
  reason text not null,
  created_at timestamptz not null default clock_timestamp()
);
create index rule_set_target on rule_set (target, version desc);

-- Who may act, and as what (src/who-may.ts). Of a password only argon2id's hash is kept. `failures` counts sign-ins begun
-- since the last that succeeded; too many, and the next ones wait.
create table operator (
  name text primary key check (name ~ '^[a-z0-9][a-z0-9._@-]{0,63}$'),
  role text not null check (role in ('viewer', 'operator', 'admin')),
  password text not null check (password like '$argon2id$%'),
  disabled boolean not null default false,
  failures integer not null default 0,
  locked_until timestamptz,
  created_at timestamptz not null default clock_timestamp()
);

create table override (
  id uuid primary key default uuidv7(),
  version bigint not null,
  kind text not null check (kind in ('forced_open', 'percent_open', 'drain', 'forced_closed', 'metrics_only', 'limit',
    'maintenance')),
  channel text not null check (channel ~ '^[a-z0-9_]{1,32}$'),
  operations text[] not null
    check (cardinality(operations) > 0 and operations <@ '{pay,inquiry,reversal,refund,payout}'::text[]),
  setting jsonb not null, -- the share of percent_open, the numbers of limit
  author text not null check (author <> ''),
  reason text not null check (reason <> ''),
  confirmed_by text, -- the second person, where it took one
  break_glass boolean not null default false, -- done without what it takes: alarmed
  created_at timestamptz not null default clock_timestamp(),
  starts_at timestamptz not null,
  expires_at timestamptz not null,
  ended_version bigint,
  ended_at timestamptz,
  ended_by text,
  end_reason text,
  constraint override_at_most_24_hours check (expires_at > starts_at and expires_at <= starts_at + interval '24 hours 1 second'),
  constraint override_two_people check (confirmed_by <> author),
  -- Nobody overrules a breaker alone and unheard.
  constraint override_breaker_overruled_by_two check (
    kind not in ('forced_closed', 'metrics_only') or break_glass or confirmed_by is not null),
  -- What is in doubt must be able to end, whatever an operator does to a channel.
  constraint override_never_blocks_reversal_or_inquiry check (
    kind in ('forced_closed', 'metrics_only', 'limit') or not operations && '{inquiry,reversal}'::text[])
);
create index override_open on override (channel) where ended_version is null;

-- An override that takes two people, asked for by the first of them. The second spends it, if it has not expired and the
-- channel is still at the version that asking made.
create table proposal (
  id uuid primary key default uuidv7(),
  version bigint not null,
  channel text not null check (channel ~ '^[a-z0-9_]{1,32}$'),
  request jsonb not null,
  author text not null check (author <> ''),
  reason text not null check (reason <> ''),
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null check (expires_at > created_at),
  confirmed_version bigint,
  confirmed_by text check (confirmed_by <> author),
  check ((confirmed_version is null) = (confirmed_by is null))
);

create table drill (
  id uuid primary key default uuidv7(),
  version bigint not null,
  channel text not null check (channel ~ '^[a-z0-9_]{1,32}$'),
  operations text[] not null
    check (cardinality(operations) > 0 and operations <@ '{pay,inquiry,reversal,refund,payout}'::text[]),
  traffic text not null check (traffic in ('coloured', 'all')),
  share double precision not null check (share > 0 and share <= 1),
  fault jsonb not null,
  stop_when jsonb not null,
  author text not null check (author <> ''),
  reason text not null check (reason <> ''),
  started_at timestamptz not null default clock_timestamp(),
  ends_at timestamptz not null check (ends_at > started_at and ends_at <= started_at + interval '1 hour 1 second'),
  stopped_version bigint,
  stopped_at timestamptz,
  stopped_by text,
  stop_reason text
);
create index drill_open on drill (ends_at) where stopped_version is null;

-- Something to be done once, at once, by every process: probe an open breaker now, or close it now. Old ones are not given
-- to followers any more.
create table nudge (
  version bigint primary key,
  channel text not null check (channel ~ '^[a-z0-9_]{1,32}$'),
  action text not null check (action in ('probe_now', 'close_now')),
  author text not null,
  reason text not null,
  at timestamptz not null default clock_timestamp()
);

-- What the instances saw of a drill. `tripped`: a stop condition was met there, and the drill is over everywhere.
create table drill_report (
  id bigint generated always as identity primary key,
  drill_id uuid not null references drill,
  instance text not null,
  tripped boolean not null,
  why text not null,
  numbers jsonb not null,
  at timestamptz not null default clock_timestamp()
);
create index drill_report_drill on drill_report (drill_id);
create index drill_report_tripped on drill_report (drill_id) where tripped;

-- One row per run of a process, so that two processes of one name cannot acknowledge for each other.
create table instance (
  name text not null,
  run uuid not null,
  service text not null,
  pid integer not null,
  generation integer not null,
  applied_version bigint not null,
  source text not null check (source in ('control', 'disk', 'persisted', 'built_in')),
  problem text,
  -- Channels whose breaker lets payments pass there: what the last healthy one is judged by.
  healthy_channels text[] not null default '{}',
  started_at timestamptz not null default clock_timestamp(),
  last_seen timestamptz not null default clock_timestamp(),
  stopped_at timestamptz,
  primary key (name, run)
) with (fillfactor = 50);

-- A cluster's quota, leased in shares. `held`: the most this instance may be using until `leased_until`.
create table quota_lease (
  target text not null,
  run uuid not null,
  held double precision not null check (held >= 0),
  leased_until timestamptz not null,
  primary key (target, run)
) with (fillfactor = 50);

-- Each change, and each try that was refused, lost to another, or failed. Each row's hash covers the hash before it.
create table audit (
  seq bigint primary key,
  at timestamptz not null,
  outcome text not null check (outcome in ('applied', 'refused', 'conflict', 'failed')),
  action text not null,
  target text not null,
  author text not null,
  reason text not null,
  seen bigint, -- the version that the author had seen
  version bigint, -- the version that the change made
  details jsonb not null,
  previous bytea not null,
  hash bytea not null,
  check ((outcome = 'applied') = (version is not null))
);
create unique index audit_version on audit (version) where version is not null;
create index audit_target on audit (target, seq desc);
-- Changes of operators, for who let whom in; of the tries to sign in beside them there may be very many.
create index audit_operators on audit (at) where target = 'operators' and version is not null;

-- What the hash of a row covers, besides the hash before it.
create function audit_text(a audit) returns text language sql stable as $$
  select jsonb_build_array(a.seq, extract(epoch from a.at)::text, a.outcome, a.action, a.target, a.author, a.reason,
    a.seen, a.version, a.details)::text
$$;

create function chain_audit() returns trigger language plpgsql as $$
declare head control_head;
begin
  select * into head from control_head for update;
  new.seq := head.audit_seq + 1;
  new.at := clock_timestamp();
  new.previous := head.audit_hash;
  new.hash := sha256(head.audit_hash || convert_to(audit_text(new), 'UTF8'));
  update control_head set audit_seq = new.seq, audit_hash = new.hash;
  return new;
end $$;
create trigger audit_chain before insert on audit for each row execute function chain_audit();

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'BL002';
end $$;
create trigger audit_append_only before update or delete on audit for each row execute function refuse_change();
create trigger audit_no_truncate before truncate on audit for each statement execute function refuse_change();
create trigger rule_set_append_only before update or delete on rule_set for each row execute function refuse_change();
create trigger rule_set_no_truncate before truncate on rule_set for each statement execute function refuse_change();

create function tell_followers() returns trigger language plpgsql as $$
begin
  perform pg_notify('ballast_control', '');
  return null;
end $$;
create trigger control_head_changed after update of version, generation on control_head
  for each statement execute function tell_followers();
create trigger drill_report_made after insert on drill_report for each statement execute function tell_followers();

-- A share of a cluster's quota for one run, for `lease`. Two promises: the sum of what is held never exceeds the total,
-- and a dead run's share returns when its lease ends. A share that shrinks is held at its old size until the run says
-- that it uses the new one, so a newcomer is never given what is still in use.
create function lease_quota(wanted_target text, for_run uuid, total double precision, in_use double precision,
  lease interval) returns double precision language plpgsql as $$
declare
  others double precision;
  sharers integer;
  fair double precision;
  granted double precision;
begin
  perform pg_advisory_xact_lock(hashtextextended('quota ' || wanted_target, 0));
  delete from quota_lease where target = wanted_target and leased_until <= clock_timestamp();
  select coalesce(sum(held), 0), count(*) + 1 into others, sharers
    from quota_lease where target = wanted_target and run <> for_run;
  fair := total / sharers;
  granted := greatest(0, least(fair, total - others));
  insert into quota_lease (target, run, held, leased_until)
    values (wanted_target, for_run, greatest(granted, least(in_use, total - others)), clock_timestamp() + lease)
    on conflict (target, run) do update set held = excluded.held, leased_until = excluded.leased_until;
  return granted;
end $$;

-- What a running system may do, whoever it logs in as: both roles are taken on with every connection. Writers append to
-- the audit and cannot change it; services read, and write only about themselves. A login that is no superuser must be
-- granted its role (`grant ballast_control_service to collection`). Roles are not in a database's dump.
do $$
declare wanted text;
begin
  foreach wanted in array '{ballast_control_writer,ballast_control_service}'::text[] loop
    begin
      execute format('create role %I nologin', wanted);
    exception when duplicate_object or unique_violation then
      null; -- roles belong to the whole server: another database's migration made it
    end;
  end loop;
end $$;
grant select on all tables in schema public to ballast_control_writer, ballast_control_service;
revoke select on operator from ballast_control_service;
grant insert on rule_set, override, proposal, drill, nudge, audit, operator to ballast_control_writer;
grant update (role, password, disabled, failures, locked_until) on operator to ballast_control_writer;
grant update (confirmed_version, confirmed_by) on proposal to ballast_control_writer;
grant update on control_head to ballast_control_writer;
grant update (operations, ended_version, ended_at, ended_by, end_reason) on override to ballast_control_writer;
grant update (stopped_version, stopped_at, stopped_by, stop_reason) on drill to ballast_control_writer;
grant insert, update, delete on instance, quota_lease to ballast_control_service;
grant insert on drill_report to ballast_control_service;
