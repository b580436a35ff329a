// Which channel takes a payment: the merchant's routes that fit method, currency and BIN; the longest BIN prefix comes
// first, and among equals the weights share. What comes after the first is where the payment may go when the first
// provably sent nothing.
import type { BankChannel, ChannelRefusal } from '@ballast/channels';
import type { PaymentRequest } from '@ballast/contracts';
import type { Reservation } from '@ballast/resilience';
import type { Route } from '../merchants/directory.ts';

/** Every route that fits, best first. `random` gives numbers in [0, 1). */
export function routesInOrder(routes: readonly Route[], request: PaymentRequest, random: () => number): Route[] {
  const method = request.payment_method;
  const fitting = routes.filter(
    (route) =>
      route.weight > 0 &&
      route.method === method.type &&
      (route.currency === null || route.currency === request.currency) &&
      (route.binPrefix === null || (method.type === 'card' && method.number.startsWith(route.binPrefix))),
  );
  const ordered: Route[] = [];
  while (ordered.length < fitting.length) {
    const left = fitting.filter((route) => !ordered.includes(route));
    const longest = Math.max(...left.map(prefixLength));
    const best = left.filter((route) => prefixLength(route) === longest);
    const next = drawn(best, random());
    if (next === undefined) break;
    ordered.push(next);
  }
  return ordered;
}

function drawn(routes: readonly Route[], random: number): Route | undefined {
  let point = random * routes.reduce((sum, route) => sum + route.weight, 0);
  for (const route of routes) {
    point -= route.weight;
    if (point < 0) return route;
  }
  return routes.at(-1);
}

function prefixLength(route: Route): number {
  return route.binPrefix?.length ?? 0;
}

/** A channel that takes the payment, its place kept there, and where it may go instead. */
export interface Place {
  readonly route: Route;
  readonly reservation: Reservation;
  readonly elsewhere: readonly Route[];
}

/** The first route whose channel takes it; else why the preferred one does not. */
export function findPlace(
  channels: ReadonlyMap<string, BankChannel>,
  routes: readonly Route[],
  merchantId: string,
): Place | { readonly refusal: ChannelRefusal } {
  let refusal: ChannelRefusal | null = null;
  for (const [index, route] of routes.entries()) {
    const reserved = channels.get(route.channel)?.reserve('pay', merchantId);
    if (reserved === undefined) continue;
    if ('giveBack' in reserved) return { route, reservation: reserved, elsewhere: routes.slice(index + 1) };
    refusal ??= reserved;
  }
  if (refusal === null) throw new Error('BUG: routes lead to channels of this process');
  return { refusal };
}
