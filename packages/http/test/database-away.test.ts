import { expect, test } from 'vitest';
import { isDatabaseAway } from '../src/database-away.ts';

test.each([
  Object.assign(new Error('the server does not answer'), { code: 'ETIMEDOUT' }),
  Object.assign(new Error('the server takes no writes'), { code: '25006' }),
  new Error('Client has encountered a connection error and is not queryable'),
  new Error('Connection terminated unexpectedly'),
])('%s: the database is away, which is no bug', (error) => {
  expect(isDatabaseAway(error)).toBe(true);
});
