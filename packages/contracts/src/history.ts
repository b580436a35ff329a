/**
 * How long an order and its events are kept, and what merchants see of it, unless configured otherwise: a source must not
 * keep its orders for less than its readers do.
 */
export const HISTORY_DAYS = 400;
