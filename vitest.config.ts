import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    globalSetup: ['test/support/one-run.ts'],
    include: ['{packages,services,infra}/*/test/**/*.test.ts', 'load-tests/test/**/*.test.ts', 'test/**/*.test.ts'],
    // Real PostgreSQL and sockets: a start takes about a second on two shared cores, so the limits are generous.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two cores are shared with the PostgreSQL servers that the files start.
    maxWorkers: 2,
  },
});
