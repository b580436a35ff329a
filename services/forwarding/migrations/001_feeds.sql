-- Forwarding's own database: who leads each source, and how far each subscriber is. Everything in it can be lost: feeds
-- then start from the beginning of the journal, and consumers drop what they have.

create table source_lead (
  source text primary key,
  -- Raised by every forwarder that takes over the slot; one that was frozen meanwhile can no longer write positions.
  epoch bigint not null,
  instance text not null,
  -- What is stored here and in the feeds means something only within one history of the source (source/history.ts): the
  -- cluster, its timeline and its generation say which; the last rows seen of it, and how far its log was known, show
  -- whether the database that is found has all of it.
  system_identifier text not null,
  timeline integer not null,
  generation integer not null,
  mark jsonb not null,
  reached pg_lsn not null,
  -- Nothing was forwarded that a synchronous standby did not have.
  guarded boolean not null,
  -- Changes whenever the publication is changed: rows written meanwhile may be missing from the log.
  publication_state text not null,
  taken_at timestamptz not null default clock_timestamp()
);

create table subscriber_feed (
  source text not null,
  subscriber text not null,
  -- on: deliver. paused: keep everything for later. disabled: drop; going on starts from then.
  wanted text not null default 'on' check (wanted in ('on', 'paused', 'disabled')),
  -- Since it was disabled, until a rebuild is asked for.
  dropped boolean not null default false,
  -- log: the log was delivered up to (lsn, index_in_transaction), and nothing before `frontier` is missing.
  -- journal: only `snapshot` counts.
  reading text not null default 'journal' check (reading in ('log', 'journal')),
  lsn pg_lsn not null default '0/0',
  index_in_transaction bigint not null default 0,
  frontier pg_lsn not null default '0/0',
  -- Everything visible in this snapshot of the source database was delivered. '1:1:' sees nothing.
  snapshot pg_snapshot not null default '1:1:',
  -- The source's time up to which everything was delivered; null: never yet.
  covered_at timestamptz,
  -- Of watermarks: deliveries without a hole, and the last one of them acknowledged, as it was sent. Null: none yet.
  run uuid not null default gen_random_uuid(),
  watermark text,
  -- Of a topic's feed: the topic's id, and the offset after the last record acknowledged of each partition. A topic that
  -- is another one, or ends before these, has lost what was published, and is filled again from the journal.
  published jsonb,
  rebuilds_asked integer not null default 0,
  rebuilds_begun integer not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (source, subscriber)
);
