// What a test starts is closed after it, last first. A failing test leaves its databases behind; its processes end with it.
import { afterEach } from 'vitest';

interface Closable {
  close(): Promise<void>;
}

const running: Closable[] = [];

afterEach(async (context) => {
  const failed = context.task.result?.state === 'fail';
  for (const one of running.splice(0).reverse()) if (!failed || 'pid' in one) await one.close();
});

export async function started<T extends Closable>(starting: Promise<T>): Promise<T> {
  const one = await starting;
  running.push(one);
  return one;
}
