// What a test starts is closed after it, last first. A failing test leaves its databases behind; its processes end with it.
// Each test has a list of its own: those that mostly wait run beside each other (test.concurrent).
import { AsyncLocalStorage } from 'node:async_hooks';
import { aroundEach } from 'vitest';

interface Closable {
  close(): Promise<void>;
}

const ofThisTest = new AsyncLocalStorage<Closable[]>();

aroundEach(async (runTest, { task }) => {
  const running: Closable[] = [];
  await ofThisTest.run(running, runTest);
  const failed = task.result?.state === 'fail';
  for (const one of running.reverse()) if (!failed || 'pid' in one) await one.close();
});

export async function started<T extends Closable>(starting: Promise<T>): Promise<T> {
  const running = ofThisTest.getStore();
  if (running === undefined) throw new Error('nothing closes what is started outside a test');
  const one = await starting;
  running.push(one);
  return one;
}
