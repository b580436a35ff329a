// Which channel takes a payment: the merchant's routes that fit method, currency and BIN; the longest BIN prefix wins,
// and among equals the weights share.
import type { PaymentRequest } from '@ballast/contracts';
import type { Route } from '../merchants/directory.ts';

/** `random` is in [0, 1). Undefined: no route fits. */
export function chooseRoute(routes: readonly Route[], request: PaymentRequest, random: number): Route | undefined {
  const method = request.payment_method;
  const fitting = routes.filter(
    (route) =>
      route.weight > 0 &&
      route.method === method.type &&
      (route.currency === null || route.currency === request.currency) &&
      (route.binPrefix === null || (method.type === 'card' && method.number.startsWith(route.binPrefix))),
  );
  const longest = Math.max(...fitting.map((route) => route.binPrefix?.length ?? 0));
  const best = fitting.filter((route) => (route.binPrefix?.length ?? 0) === longest);
  let point = random * best.reduce((sum, route) => sum + route.weight, 0);
  for (const route of best) {
    point -= route.weight;
    if (point < 0) return route;
  }
  return best.at(-1);
}
