export { type ArrayType, arrayParameter } from './array-parameters.ts';
export { type DatabaseClock, startDatabaseClock, uuidv7 } from './clock.ts';
export { LossySettings, refuseLossySettings } from './durability.ts';
export {
  type BatchStatement,
  type Committed,
  type GroupCommit,
  type GroupCommitOptions,
  openGroupCommit,
} from './group-commit.ts';
export { CommitUnknown, NotSent, QueueFull, RowRefused } from './group-commit-errors.ts';
export { type DatabaseOptions, type Knex, migrate, openDatabase } from './knex.ts';
export {
  type AlarmLevel,
  ExternalCallInTransaction,
  onTransaction,
  refuseInTransaction,
  type TransactionTiming,
  withTransaction,
} from './transaction.ts';
