import { expect, test } from 'vitest';
import { type KafkaSeen, nextRoute, type Route } from '../src/delivery/route.ts';

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
