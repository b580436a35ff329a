import { expect, test } from 'vitest';
import {
  type KafkaSeen,
  nextRoute,
  nextWay,
  type Route,
  type SubscriberSeen,
  type Way,
} from '../src/delivery/route.ts';

const well: KafkaSeen = { failing: false, answers: true, lagMs: 5, readsLog: true, wellForMs: 10_000 };
const failing: KafkaSeen = { failing: true, answers: false, lagMs: 5_000, readsLog: true, wellForMs: 0 };
const late: KafkaSeen = { failing: false, answers: true, lagMs: 1_500, readsLog: true, wellForMs: 0 };
const filling: KafkaSeen = { failing: false, answers: true, lagMs: 60_000, readsLog: false, wellForMs: 0 };
const justWell: KafkaSeen = { ...well, wellForMs: 500 };
const silent: KafkaSeen = { ...well, answers: false, wellForMs: 0 };

test.each<[Route, string, KafkaSeen, Route]>([
  ['kafka', 'well', well, 'kafka'],
  ['kafka', 'only just well', justWell, 'kafka'],
  ['kafka', 'failing', failing, 'direct'],
  ['kafka', 'late', late, 'direct'],
  ['kafka', 'filling from the journal', filling, 'direct'],
  ['direct', 'failing', failing, 'direct'],
  ['direct', 'not heard of yet', silent, 'direct'],
  ['direct', 'filling from the journal', filling, 'catch_up'],
  ['direct', 'well', well, 'catch_up'],
  ['catch_up', 'failing', failing, 'direct'],
  ['catch_up', 'late', late, 'catch_up'],
  ['catch_up', 'filling from the journal', filling, 'catch_up'],
  ['catch_up', 'only just well', justWell, 'catch_up'],
  ['catch_up', 'well', well, 'kafka'],
])('from %s, with Kafka %s', (from, _, seen, to) => {
  expect(nextRoute(from, seen)).toBe(to);
});

const inTime: SubscriberSeen = { lateMs: 0, stuckMs: 900, wellForMs: 10_000 };
const idle: SubscriberSeen = { lateMs: 0, stuckMs: 60_000, wellForMs: 60_000 };
const catchingUp: SubscriberSeen = { lateMs: 60_000, stuckMs: 900, wellForMs: 0 };
const lost: SubscriberSeen = { lateMs: 3_500, stuckMs: 3_500, wellForMs: 0 };
const neverRead: SubscriberSeen = { lateMs: Number.POSITIVE_INFINITY, stuckMs: 20_000, wellForMs: 0 };
const backJustNow: SubscriberSeen = { lateMs: 0, stuckMs: 100, wellForMs: 100 };

test.each<[Way, string, SubscriberSeen, Way]>([
  ['kafka', 'keeps up with the topic', inTime, 'kafka'],
  ['kafka', 'has nothing to read, while a transaction holds watermarks back', idle, 'kafka'],
  ['kafka', 'has much to read, and gets further', catchingUp, 'kafka'],
  ['kafka', 'is late and gets no further', lost, 'direct'],
  ['kafka', 'has proven nothing by the topic', neverRead, 'direct'],
  ['direct', 'is late and gets no further', lost, 'direct'],
  ['direct', 'has proven nothing by the topic', neverRead, 'direct'],
  ['direct', 'has much to read, and gets further', catchingUp, 'direct'],
  ['direct', 'has only just read again', backJustNow, 'direct'],
  ['direct', 'has kept up with it for a while', inTime, 'kafka'],
])('from %s, a subscriber that %s', (from, _, seen, to) => {
  expect(nextWay(from, seen)).toBe(to);
});
