-- Every set of rules and overrides that collection applied, so that a fresh instance starts from its own database alone.
-- `copy` is what packages/control keeps on disk too. The newest 500 are kept.
create table control_copy (
  generation integer not null,
  version bigint not null,
  applied_at timestamptz not null default clock_timestamp(),
  copy jsonb not null,
  primary key (generation, version)
);
