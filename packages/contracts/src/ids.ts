// Ids: UUIDv7 inside, prefixed outside (`ord_0199…`). The prefix names the kind, so that an id pasted into the wrong
// field is refused with a sentence instead of "not found".
import { z } from 'zod';

export type IdPrefix =
  | 'ord'
  | 'att'
  | 'rfd'
  | 'stl'
  | 'mer'
  | 'trm'
  | 'chn'
  | 'ovr'
  | 'prp'
  | 'evt'
  | 'drl'
  | 'vod'
  | 'key';

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';

/** `publicId('ord', uuid)` → `ord_<uuid>`. */
export function publicId(prefix: IdPrefix, uuid: string): string {
  return `${prefix}_${uuid}`;
}

/** The UUID inside a public id, or undefined when the text is not an id of that kind. */
export function uuidOf(prefix: IdPrefix, text: string): string | undefined {
  if (!text.startsWith(`${prefix}_`)) return undefined;
  const uuid = text.slice(prefix.length + 1);
  return new RegExp(`^${UUID}$`).test(uuid) ? uuid : undefined;
}

/** Schema of a public id of one kind; the parsed value keeps the prefix. */
export function idSchema(prefix: IdPrefix) {
  return z
    .string()
    .regex(new RegExp(`^${prefix}_${UUID}$`), `must be an id of the form ${prefix}_<uuid>`)
    .meta({ examples: [`${prefix}_019a0000-0000-7000-8000-000000000001`] });
}
