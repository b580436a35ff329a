// What goes on although something is not as it should be: said once when it begins and once when it ends, and shown as
// long as it lasts.
import type { Logger } from '@ballast/telemetry';

export const warningNames = ['unguarded', 'watermarks_held', 'reader_retired', 'topic_differs'] as const;
export type WarningName = (typeof warningNames)[number];

export interface Warnings {
  /** `why` null: it is all right. */
  set(name: WarningName, why: string | null): void;
  /** Whoever leads now says what is not right: a word of the last lead would stay for ever. */
  clear(): void;
  list(): readonly { readonly name: WarningName; readonly why: string }[];
}

export function openWarnings(logger: Logger): Warnings {
  const lasting = new Map<WarningName, string>();
  return {
    set: (name, why) => {
      if (why === null) {
        if (lasting.delete(name)) logger.info({ warning: name }, 'it is all right again');
        return;
      }
      if (lasting.get(name) !== why) logger.error({ warning: name, reason: why }, 'not as it should be');
      lasting.set(name, why);
    },
    clear: () => lasting.clear(),
    list: () => [...lasting].map(([name, why]) => ({ name, why })),
  };
}
