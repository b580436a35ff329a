// The order of the test files. vitest takes the longest first, by an earlier run, or by their size where there was none, as in
// a clean clone: then a short file of long tests comes last, and runs alone.
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const ranks = [
  // They assert seconds, and mostly wait: first, beside each other.
  /\/(slot|failover|standby|silent-source|flips|follow|deadline)\.test/,
  // A start of a forwarder, a Kafka or a whole system for each test.
  /services\/forwarding\/|test\/e2e\/|kafka|sweep|ballast-cli/,
];

export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.sort((a, b) => rankOf(a) - rankOf(b));
  }
}

function rankOf({ moduleId }: TestSpecification): number {
  const rank = ranks.findIndex((pattern) => pattern.test(moduleId));
  return rank === -1 ? ranks.length : rank;
}
