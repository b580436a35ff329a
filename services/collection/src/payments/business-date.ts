// The business date: stamped once, at acceptance, from the merchant's time zone and cutover, and never moved. An instant
// at or after the local cutover belongs to the next date.

const formatters = new Map<string, Intl.DateTimeFormat>();

/** `nowMs`: database time. `cutover`: local 'HH:MM'; '00:00' makes the business date the calendar date. */
export function businessDate(nowMs: number, timeZone: string, cutover: string): string {
  let formatter = formatters.get(timeZone);
  if (formatter === undefined) {
    formatter = new Intl.DateTimeFormat('en-CA', {
      timeZone,
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
    formatters.set(timeZone, formatter);
  }
  const part = Object.fromEntries(formatter.formatToParts(nowMs).map(({ type, value }) => [type, value]));
  const date = `${part['year']}-${part['month']}-${part['day']}`;
  if (cutover === '00:00' || `${part['hour']}:${part['minute']}` < cutover) return date;
  return new Date(Date.parse(`${date}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);
}

const known = new Map<string, { minute: number; date: string }>();

/** The same, computed once a minute for each zone and cutover: formatting costs as much as a whole signature check. */
export function businessDateCached(nowMs: number, timeZone: string, cutover: string): string {
  const minute = Math.floor(nowMs / 60_000);
  const key = `${timeZone} ${cutover}`;
  const held = known.get(key);
  if (held?.minute === minute) return held.date;
  const date = businessDate(nowMs, timeZone, cutover);
  known.set(key, { minute, date });
  return date;
}
