// Inside the process under test: what comes to an armed step is held there, and the driver is told. The driver then kills
// the process, or lets what is held go on.

interface Sweep {
  /** Undefined when the step is not armed: it costs a look into a set. */
  at(label: string): Promise<void> | undefined;
  pass(label: string): void;
}

export type Order = { readonly arm: readonly string[] } | { readonly release: string };
export type Report = { readonly held: string } | { readonly passed: string } | { readonly patched: string };

const armed = new Set<string>();
const held = new Map<string, (() => void)[]>();

const sweep: Sweep = {
  at: (label) => {
    if (!armed.has(label)) return undefined;
    return new Promise((resolve) => {
      held.set(label, [...(held.get(label) ?? []), resolve]);
      process.send?.({ held: label } satisfies Report);
    });
  },
  pass: (label) => {
    if (armed.has(label)) process.send?.({ passed: label } satisfies Report);
  },
};
Object.assign(globalThis, { sweep });

process.on('message', (order: Order) => {
  if ('arm' in order) {
    for (const label of order.arm) armed.add(label);
    return;
  }
  armed.delete(order.release);
  for (const resume of held.get(order.release) ?? []) resume();
  held.delete(order.release);
});
// Without its driver it would be held for ever.
process.on('disconnect', () => process.exit(3));
process.channel?.unref();
