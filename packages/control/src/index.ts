export type { Actor } from './actor.ts';
export type { InstanceReport } from './applied.ts';
export type { AuditReport } from './audit.ts';
export type { Change } from './change.ts';
export type { DrillRequest, OverrideRequest } from './check-request.ts';
export { type ControlDocument, decidingOverride } from './document.ts';
export { ChangeRefused, ControlUnavailable, SignInRefused, VersionConflict } from './errors.ts';
export {
  type ControlFollower,
  type DrillReport,
  type FollowOptions,
  type FollowStatus,
  followControl,
} from './follow.ts';
export type { ControlLog } from './held.ts';
export type { KeptCopy } from './kept-copy.ts';
export { migrateControl } from './migrate.ts';
export { shareOf } from './shares.ts';
export type { ControlSource, ControlState } from './state.ts';
export {
  type Authorization,
  type ControlStore,
  type ControlStoreOptions,
  channelTarget,
  type Outcome,
  openControlStore,
  ruleTargetName,
} from './store.ts';
export { type Role, roles } from './who-may.ts';
