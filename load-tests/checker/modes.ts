// Test traffic and real traffic never meet: I-29.
import type { Invariant } from './invariant.ts';

export function modesNeverMeet(): Invariant {
  return {
    id: 'I-29',
    says: 'test and real data never meet, anywhere along the chain',
    when: 'always',
    each: ({ order, orderId, attempts, events }, { books, history }, finding) => {
      if (order === null) return;
      const { livemode } = order;
      const mixed = (where: string) => finding.violation(`order ${orderId} (livemode ${livemode}) meets ${where}`);
      finding.evaluated();
      for (const attempt of attempts) {
        if (attempt.livemode !== livemode) mixed(`attempt ${attempt.attempt_no} of the other mode`);
        const booked = books.find(attempt.channel, attempt.bank_reference);
        if (booked?.charges.some((entry) => entry.livemode !== livemode && entry.result !== 'declined') === true)
          mixed(`a charge of the other mode at ${attempt.channel}`);
      }
      for (const event of events)
        if (event.livemode !== livemode || event.data['livemode'] !== livemode)
          mixed(`event ${event.version} of the other mode`);
      for (const { operation, body } of history.byOrder.get(orderId) ?? [])
        if (operation.livemode !== livemode || body['livemode'] !== livemode) mixed('a terminal of the other mode');
    },
    end: ({ books }, finding) => {
      const modes = new Map<string, boolean>();
      for (const booked of books.all()) {
        for (const entry of [...booked.charges, ...booked.refunds]) {
          if (entry.result !== 'approved') continue;
          const mode = modes.get(booked.bank) ?? entry.livemode;
          modes.set(booked.bank, mode);
          if (mode !== entry.livemode) finding.violation(`${booked.bank} ${booked.reference}: both modes in one bank`);
        }
      }
    },
  };
}
