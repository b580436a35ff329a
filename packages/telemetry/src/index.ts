export { type Alarm, type Alarms, type AlarmsOptions, openAlarms } from './alarms.ts';
export { registerOperational } from './health.ts';
export { createLogger, flushLog, type Logger, type LogOptions } from './log.ts';
export { type Counter, createMetrics, type Gauge, type Histogram, type Metrics, type Registry } from './metrics.ts';
export { readConfigFile } from './read-config.ts';
export { type Closing, runService } from './run-service.ts';
export { scrub } from './scrub.ts';
export { childTraceparent } from './trace.ts';
export { watchTransactions } from './transactions.ts';
