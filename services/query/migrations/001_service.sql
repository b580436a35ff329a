-- What query keeps besides the read model: who may read, and how a rebuild stands. The read model itself lives in a schema
-- of its own (migrations/read-model), so that a second one can be built beside it and take its place.

-- A merchant's keys. The key is 32 random bytes and shown once; kept is its SHA-256, which needs no salt at that entropy.
create table api_key (
  id uuid primary key,
  merchant_id uuid not null,
  livemode boolean not null,
  name text not null,
  key_hash bytea not null unique check (octet_length(key_hash) = 32),
  created_at timestamptz not null default now(),
  -- Kept for a year after, so that "who could read this in May?" has an answer; then removed by workers/retention.ts.
  revoked_at timestamptz
);

-- One row per rebuild. preparing: the second schema is being made. building: every delivery goes into both read models.
-- done: the second one took the first one's place. cancelled: it was thrown away.
create table rebuild (
  id integer generated always as identity primary key,
  state text not null check (state in ('preparing', 'building', 'done', 'cancelled')),
  instance text not null,
  started_at timestamptz not null default clock_timestamp(),
  -- The number forwarding gave the replay that was asked for; null until it was.
  replay integer,
  ended_at timestamptz,
  detail text not null default '',
  check ((ended_at is null) = (state in ('preparing', 'building')))
);
create unique index rebuild_one_at_a_time on rebuild ((true)) where ended_at is null;

create function rfc3339(at timestamptz) returns text language sql stable as $$
  select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;
