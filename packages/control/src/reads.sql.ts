// What is read from the control database: by followers in one statement (one snapshot), by operators for their eyes.

/**
 * Whom somebody else let in within a day: added, enabled, or given a password or a role. Whoever did it may know the password.
 * While the database is set up, for an hour, its first admin adds the team: none of them is a guest. Index: audit_operators.
 */
export const letInSql = `
  select version, details ->> 'name' as name, author, at from audit one
  where target = 'operators' and version is not null and at > clock_timestamp() - interval '1 day'
    and action in ('add_operator', 'change_operator') and author <> details ->> 'name'
    and details - 'name' <> '{"disabled": true}'
    and not (action = 'add_operator' and exists (select from audit first
      where first.target = 'operators' and first.version is not null and first.action = 'add_first_admin'
        and one.at between first.at and first.at + interval '1 hour'))`;

/** Times are ms since the epoch by the database's clock. Parameters: none. One row, one column `document`. */
export const documentSql = `
  with current_rules as (
    select distinct on (target) target, version, rules from rule_set order by target, version desc
  ), split as (
    select split_part(target, ':', 1) as kind, split_part(target, ':', 2) as name, split_part(target, ':', 3) as operation,
      version, rules
    from current_rules where rules is not null
  )
  select jsonb_build_object(
    'generation', h.generation, 'version', h.version,
    'anchor', coalesce((select encode(hash, 'hex') from audit where version = h.version), ''),
    'channels', coalesce((select jsonb_agg(jsonb_build_object('channel', name, 'operation', operation,
      'version', version, 'rules', rules)) from split where kind = 'channel'), '[]'),
    'shadows', coalesce((select jsonb_agg(jsonb_build_object('channel', name, 'operation', operation,
      'version', version, 'rules', rules)) from split where kind = 'shadow'), '[]'),
    'limiters', coalesce((select jsonb_agg(jsonb_build_object('limiter', name,
      'version', version, 'rules', rules)) from split where kind = 'limiter'), '[]'),
    'overrides', coalesce((select jsonb_agg(jsonb_build_object('id', 'ovr_' || id, 'version', version,
      'channel', channel, 'operations', operations, 'setting', setting || jsonb_build_object('kind', kind),
      'author', author, 'reason', reason, 'break_glass', break_glass, 'starts_at', extract(epoch from starts_at) * 1000,
      'expires_at', extract(epoch from expires_at) * 1000) order by version)
      from override where ended_version is null and expires_at > clock_timestamp()), '[]'),
    'drills', coalesce((select jsonb_agg(jsonb_build_object('id', 'drl_' || id, 'version', version,
      'channel', channel, 'operations', operations, 'traffic', traffic, 'share', share, 'fault', fault, 'stop_when', stop_when,
      'author', author, 'reason', reason, 'started_at', extract(epoch from started_at) * 1000,
      'ends_at', extract(epoch from ends_at) * 1000) order by version)
      from drill where stopped_version is null and ends_at > clock_timestamp()
        and not exists (select from drill_report r where r.drill_id = drill.id and r.tripped)), '[]'),
    'nudges', coalesce((select jsonb_agg(jsonb_build_object('version', version, 'channel', channel,
      'action', action) order by version) from nudge where at > clock_timestamp() - interval '1 minute'), '[]'),
    'let_in', coalesce((select jsonb_agg(jsonb_build_object('version', version, 'name', name, 'author', author,
      'at', extract(epoch from at) * 1000) order by version) from (${letInSql}) let_in), '[]')
  ) as document from control_head h`;

/**
 * Whether anything changed. $1: the version that the follower holds; `anchor` is this database's hash at that version.
 * `trips` changes when a drill's stop condition was met somewhere.
 */
export const headSql = `
  select generation, version::float8 as version,
    coalesce((select encode(hash, 'hex') from audit where version = $1), '') as anchor,
    (select count(*)::float8 from drill_report where tripped) as trips,
    (extract(epoch from clock_timestamp()) * 1000)::float8 as now_ms
  from control_head`;

/** $1 name, $2 run, $3 service, $4 pid, $5 generation, $6 version, $7 source, $8 problem, $9 healthy channels. */
export const reportInstanceSql = `
  insert into instance (name, run, service, pid, generation, applied_version, source, problem, healthy_channels)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
  on conflict (name, run) do update set generation = excluded.generation, applied_version = excluded.applied_version,
    source = excluded.source, problem = excluded.problem, healthy_channels = excluded.healthy_channels, last_seen = clock_timestamp(), stopped_at = null`;

/** $1 run. */
export const stopInstanceSql = 'update instance set stopped_at = clock_timestamp() where run = $1';

/** Runs that ended long ago, so that the table stays as small as the cluster. */
export const forgetInstancesSql = `delete from instance where last_seen < clock_timestamp() - interval '1 day'`;

/** $1 target, $2 run, $3 total, $4 in use, $5 lease in ms. */
export const leaseQuotaSql = `select lease_quota($1, $2, $3, $4, $5 * interval '1 ms') as share`;

/** $1 drill, $2 instance, $3 tripped, $4 why, $5 numbers. */
export const reportDrillSql = `
  insert into drill_report (drill_id, instance, tripped, why, numbers) values ($1, $2, $3, $4, $5::jsonb)`;

/**
 * The processes that follow: not stopped, and of each name the newest run and every older one that was heard of lately.
 * A process silent for over an hour is no longer counted.
 */
export const instancesSql = `
  select name, service, pid, generation, applied_version::float8 as applied_version, source, problem,
    generation = (select generation from control_head) as is_current,
    (extract(epoch from clock_timestamp() - last_seen) * 1000)::float8 as silent_ms
  from instance i
  where stopped_at is null and last_seen > clock_timestamp() - interval '1 hour'
    and (last_seen > clock_timestamp() - interval '3 s'
      or not exists (select from instance newer where newer.name = i.name and newer.started_at > i.started_at))
  order by name, started_at`;

export const overridesSql = `
  select 'ovr_' || id as id, version::float8 as version, kind, channel, operations, setting, author, reason,
    confirmed_by, break_glass, starts_at, expires_at, ended_at, ended_by, end_reason,
    case when ended_version is not null then 'ended' when expires_at <= clock_timestamp() then 'expired'
      when starts_at > clock_timestamp() then 'scheduled' else 'active' end as state
  from override where (?::text is null or channel = ?) order by version desc limit ?`;

/**
 * Whether this channel is the last that takes payments: some process finds it healthy, and of the others none that nobody shuts
 * at any time between `from` and `to` (ms from now), be it in force, scheduled, or so little that it is as good as shut.
 * Processes silent for ten seconds no longer say anything. What is set on the channel itself does not count: shut by two, it is
 * not shut by one for longer.
 */
export const isLastHealthySql = `
  with healthy as (
    select distinct unnest(healthy_channels) as channel from instance
    where stopped_at is null and last_seen > clock_timestamp() - interval '10 s'
  )
  select exists (select from healthy where channel = :channel) and not exists (
    select from healthy other where other.channel <> :channel and not exists (
      select from override o where o.channel = other.channel and 'pay' = any(o.operations) and o.ended_version is null
        and o.starts_at < clock_timestamp() + :to * interval '1 ms'
        and o.expires_at > clock_timestamp() + :from * interval '1 ms'
        and (o.kind in ('forced_open', 'drain', 'maintenance')
          or o.kind = 'percent_open' and cast(o.setting ->> 'share' as float8) < :share
          or o.kind = 'limit' and (cast(o.setting ->> 'perSecond' as float8) < :perSecond
            or cast(o.setting ->> 'maxInFlight' as float8) < :inFlight)))) as is_last`;

/** Parameters: channel or null, twice; how many. */
export const proposalsSql = `
  select 'prp_' || id as id, version::float8 as version, channel, request, author, reason, created_at, expires_at, confirmed_by,
    case when confirmed_by is not null then 'confirmed' when expires_at <= clock_timestamp() then 'expired'
      when version < (select max(version) from audit where target = 'channel:' || channel) then 'overtaken'
      else 'waiting' end as state
  from proposal where (?::text is null or channel = ?) order by version desc limit ?`;

export const operatorsSql = 'select name, role, disabled, locked_until, created_at from operator order by name';

export const drillsSql = `
  select 'drl_' || id as id, version::float8 as version, channel, operations, traffic, share, fault, stop_when, author, reason,
    started_at, ends_at, stopped_at, stopped_by, stop_reason,
    case when stopped_version is not null then 'stopped'
      when exists (select from drill_report r where r.drill_id = drill.id and r.tripped) then 'tripped'
      when ends_at <= clock_timestamp() then 'ended' else 'running' end as state,
    coalesce((select jsonb_agg(jsonb_build_object('instance', instance, 'tripped', tripped, 'why', why,
      'numbers', numbers) order by r.id) from drill_report r where r.drill_id = drill.id), '[]') as reports
  from drill where (?::text is null or channel = ?) order by version desc limit ?`;

export const rulesSql = `
  select version::float8 as version, target, rules, author, reason, created_at
  from rule_set where (?::text is null or target = ?) order by version desc limit ?`;

const auditColumns = `seq::float8 as seq, at, outcome, action, target, author, reason, seen::float8 as seen,
  version::float8 as version, details`;

export const auditSql = `select ${auditColumns} from audit where (?::text is null or target = ?) order by seq desc limit ?`;

/** One page of the chain, oldest first, with what each hash covers. Parameters: after which seq, how many. */
export const chainSql = `
  select seq::float8 as seq, encode(previous, 'hex') as previous, encode(hash, 'hex') as hash, audit_text(audit) as text
  from audit where seq > ? order by seq limit ?`;

export const auditHeadSql = `select audit_seq::float8 as seq, encode(audit_hash, 'hex') as hash from control_head`;

/** The version of a target's last change: what an author has seen. */
export const targetVersionSql = `select coalesce(max(version), 0)::float8 as version from audit where target = ?`;
