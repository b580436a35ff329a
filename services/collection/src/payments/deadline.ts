// The terminal's deadline bounds everything it waits for; the work itself goes on and ends by its own limits.

export const expired = Symbol('the deadline passed first');

/** What the work came to, or `expired` when monotonic time `at` passes first; then a failure of it goes to `onLateError`. */
export async function beforeDeadline<T>(
  work: Promise<T>,
  at: number,
  onLateError: (error: unknown) => void,
): Promise<T | typeof expired> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<typeof expired>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, at - performance.now()), expired);
  });
  try {
    const first = await Promise.race([work, late]);
    if (first === expired) work.catch(onLateError);
    return first;
  } finally {
    clearTimeout(timer);
  }
}
