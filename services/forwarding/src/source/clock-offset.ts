// How far the source's clock is from ours. What is read on a round trip is off by up to half of the time it took; so that of
// the shortest of the last few counts.

const SAMPLES = 8;

export interface ClockOffset {
  /** The source's clock was read between two moments of ours (all in ms); the best known offset, source's minus ours. */
  heard(source: number, sent: number, received: number): number;
}

export function openClockOffset(): ClockOffset {
  const samples: { readonly tripMs: number; readonly offset: number }[] = [];
  return {
    heard: (source, sent, received) => {
      samples.push({ tripMs: received - sent, offset: source - (sent + received) / 2 });
      if (samples.length > SAMPLES) samples.shift();
      return samples.reduce((best, sample) => (sample.tripMs < best.tripMs ? sample : best)).offset;
    },
  };
}
