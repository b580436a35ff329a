// One interface for every bank. An adapter speaks the bank's protocol; it never decides what an unclear answer means
// for the order: whatever is not a clear, matching answer is `in_doubt`, with the evidence.
import type { Reservation } from '@ballast/resilience';

/** What identifies a charge at the bank: our own reference, unique by construction, committed before any byte leaves. */
export interface ChargeIdentity {
  readonly bankReference: string;
  readonly merchantNumber: string;
  readonly terminalNumber: string;
  readonly amount: bigint;
  readonly currency: string;
  readonly livemode: boolean;
}

export type Instrument =
  | {
      readonly type: 'card';
      readonly number: string;
      readonly expiryMonth: number;
      readonly expiryYear: number;
      readonly entryMode: string;
      readonly track2?: string;
      readonly cvv?: string;
      readonly pinBlock?: string;
    }
  | { readonly type: 'code'; readonly code: string };

export interface Charge extends ChargeIdentity {
  readonly instrument: Instrument;
}

/** Masked copies of what went over the wire; never a card number, track, CVV or PIN block. */
export interface Evidence {
  readonly request: string;
  readonly response: string;
  readonly httpStatus: number | null;
}

/** `not_sent`: provably no byte left for the bank (refused by our own policy, or the connection was never made). */
export type ChargeOutcome =
  | {
      readonly kind: 'approved';
      readonly amount: bigint;
      readonly rrn: string;
      readonly authorizationCode: string;
      readonly bankCode: string;
      readonly evidence: Evidence;
    }
  | { readonly kind: 'declined'; readonly declineCode: string; readonly bankCode: string; readonly evidence: Evidence }
  | { readonly kind: 'in_doubt'; readonly reason: string; readonly evidence: Evidence | null }
  | {
      readonly kind: 'not_sent';
      readonly reason: string;
      readonly refusedByUs: boolean;
      readonly retryAfterSeconds: number | null;
    };

/** `not_found` is final only after the bank's horizon; the caller counts it from the last moment a request could have left. */
export type InquiryOutcome = ChargeOutcome | { readonly kind: 'not_found'; readonly evidence: Evidence };

export type ReversalOutcome =
  | { readonly kind: 'reversed'; readonly already: boolean; readonly evidence: Evidence }
  | { readonly kind: 'refused'; readonly bankCode: string; readonly evidence: Evidence }
  | { readonly kind: 'not_found'; readonly evidence: Evidence }
  | { readonly kind: 'in_doubt'; readonly reason: string; readonly evidence: Evidence | null }
  | {
      readonly kind: 'not_sent';
      readonly reason: string;
      readonly refusedByUs: boolean;
      readonly retryAfterSeconds: number | null;
    };

export interface CallOptions {
  /** Monotonic (`performance.now()`) time after which nothing may be written to the socket any more. */
  readonly sendBefore: number;
  /** Monotonic time at which the caller stops waiting. */
  readonly deadline: number;
  readonly traceparent: string | null;
  /** Who uses the quota: the merchant's id. */
  readonly consumer: string;
  /** What `reserve` gave. */
  readonly reservation?: Reservation;
}

/** A whole answer to a call that was abandoned before: it is never dropped. */
export interface LateAnswer {
  readonly operation: 'pay' | 'inquiry' | 'reversal';
  readonly identity: ChargeIdentity;
  /** As in the call's options: the merchant's id. */
  readonly consumer: string;
  readonly outcome: ChargeOutcome | InquiryOutcome | ReversalOutcome;
}

/** Why a call would be refused right now. */
export interface ChannelRefusal {
  readonly reason: string;
  readonly detail: string;
  readonly retryAfterSeconds: number | null;
}

export interface BankChannel {
  readonly name: string;
  /** How long a request of ours may still turn up at the bank after it left; "not found" before that proves nothing. */
  readonly horizonMs: number;
  /** True where the bank keeps a reversal of something it never saw and refuses the late original. */
  readonly keepsEarlyReversals: boolean;
  /** Before commit 1: a refusal here stores nothing and uses up no key. A reservation is for `pay`, or to be given back. */
  reserve(operation: 'pay', consumer: string): ChannelRefusal | Reservation;
  pay(charge: Charge, options: CallOptions): Promise<ChargeOutcome>;
  inquire(identity: ChargeIdentity, options: CallOptions): Promise<InquiryOutcome>;
  /** `repeat` sets the bank's repeat mark; the original data stay the same on every try. */
  reverse(identity: ChargeIdentity, repeat: boolean, options: CallOptions): Promise<ReversalOutcome>;
  /** Told of every whole answer that came after its call was abandoned. */
  onLate(listener: (late: LateAnswer) => void): void;
  close(): Promise<void>;
}
