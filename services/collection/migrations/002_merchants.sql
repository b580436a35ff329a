-- Who may pay: merchants, their terminals and keys, and which channel takes what. Small, read through a cache; on a
-- sharded order database these are reference tables (a terminal is looked up by its id alone, before its merchant is known).

create table merchant (
  merchant_id uuid primary key,
  name text not null,
  time_zone text not null,
  -- Local time 'HH:MM' from which an instant belongs to the next business date.
  cutover text not null check (cutover ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'),
  currencies text[] not null check (cardinality(currencies) > 0),
  void_window_seconds integer not null check (void_window_seconds between 0 and 604800),
  updated_at timestamptz not null default now()
);

create table merchant_route (
  merchant_id uuid not null references merchant,
  position integer not null,
  channel text not null,
  method text not null check (method in ('card', 'code')),
  currency text,
  bin_prefix text check (bin_prefix ~ '^[0-9]{1,8}$'),
  weight integer not null check (weight between 0 and 1000000),
  merchant_number text not null,
  terminal_number text not null,
  primary key (merchant_id, position)
);

create table terminal (
  terminal_id uuid primary key,
  merchant_id uuid not null references merchant,
  name text not null,
  updated_at timestamptz not null default now()
);
create index terminal_merchant on terminal (merchant_id);

-- Two live keys at most, so that a terminal can change its key without a pause. The secret is sealed under a master key.
create table terminal_key (
  terminal_id uuid not null references terminal,
  key_id text not null,
  livemode boolean not null,
  secret_sealed bytea not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz,
  primary key (terminal_id, key_id)
);

-- One data key a day, sealed under a master key. Card numbers of that day are erased by deleting its row.
create table card_data_key (
  day date primary key,
  key_sealed bytea not null,
  created_at timestamptz not null default now()
);
