import { defineConfig } from 'vitest/config';
import { LongFirst } from './test/support/long-first.ts';

export default defineConfig({
  test: {
    globalSetup: ['test/support/one-run.ts'],
    include: ['{packages,services,infra}/*/test/**/*.test.ts', 'load-tests/test/**/*.test.ts', 'test/**/*.test.ts'],
    // Real PostgreSQL and sockets: a start takes about a second on two shared cores, so the limits are generous.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Two cores are shared with the PostgreSQL servers that the files start.
    maxWorkers: 2,
    // Tests of one file that mostly wait run beside each other where they say so.
    maxConcurrency: 3,
    sequence: { sequencer: LongFirst },
  },
});
