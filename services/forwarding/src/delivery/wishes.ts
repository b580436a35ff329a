// What people want of a feed: that it delivers, keeps for later, or drops; and that it delivers the whole journal again.

import { SEES_NOTHING } from '../source/pg-snapshot.ts';
import type { StoredFeed, Wanted, Wish } from './feeds.sql.ts';

export interface Wishes {
  wanted(): Wanted;
  /** Since it was disabled, and not rebuilt: it lacks what was dropped. */
  dropped(): boolean;
  /** `switched`: it is to deliver, or not to, other than before. `rebuild`: everything again, beginning now. */
  follow(wish: Wish): { readonly switched: boolean; readonly rebuild: boolean };
  rebuilds(): { readonly begun: number; readonly finished: number };
  /** It has the whole journal. */
  rebuilt(): void;
}

export function openWishes(stored: StoredFeed): Wishes {
  let { wanted, dropped, rebuildsBegun: begun } = stored;
  let finished = stored.snapshot === SEES_NOTHING.text ? begun - 1 : begun;
  return {
    wanted: () => wanted,
    dropped: () => dropped,
    follow: (wish) => {
      const switched = wish.wanted !== wanted;
      const rebuild = wish.rebuildsAsked > begun;
      ({ wanted, dropped } = wish);
      if (rebuild) begun = wish.rebuildsAsked;
      return { switched, rebuild };
    },
    rebuilds: () => ({ begun, finished }),
    rebuilt: () => {
      finished = begun;
    },
  };
}
