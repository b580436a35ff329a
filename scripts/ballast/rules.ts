// `ballast rules …`: the rules of a channel's operation, of a candidate beside it, or of an inbound limiter.
import { readFileSync } from 'node:fs';
import { type RuleTarget, ruleTargetSchema } from '@ballast/contracts';
import { channelTarget, ruleTargetName } from '@ballast/control';
import { type ExitCode, exitCode, say, UsedWrongly } from '../system/command.ts';
import { type Operator, table, tellOutcome, wordAt } from './operator.ts';

export async function rules(operator: Operator): Promise<ExitCode> {
  const [action = 'get'] = operator.words;
  switch (action) {
    case 'get':
      return get(operator);
    case 'put':
      return put(operator, targetOf(wordAt(operator, 1, 'the target')), readJson(wordAt(operator, 2, 'the file')));
    case 'drop':
      return put(operator, targetOf(wordAt(operator, 1, 'the target')), null);
    default:
      throw new UsedWrongly(`rules: there is no "${action}"; see npx ballast help`);
  }
}

async function get({ store, words, number }: Operator): Promise<ExitCode> {
  const name = words[1];
  if (name === undefined) {
    const rows = await store.rules(null, number('limit') ?? 50);
    const columns = ['version', 'target', 'author', 'reason', 'created_at'];
    table(
      columns.map((column) => column.toUpperCase()),
      rows.map((row) => columns.map((column) => row[column])),
    );
    return exitCode.done;
  }
  const [newest] = await store.rules(ruleTargetName(targetOf(name)), 1);
  if (newest === undefined || newest['rules'] === null) {
    process.stderr.write(`ballast: ${name} runs on the built-in rules\n`);
    return exitCode.checkFailed;
  }
  say(JSON.stringify(newest['rules'], null, 2));
  return exitCode.done;
}

async function put(operator: Operator, target: RuleTarget, value: unknown): Promise<ExitCode> {
  const name = ruleTargetName(target);
  const change = await operator.change(target.kind === 'limiter' ? name : channelTarget(target.channel));
  return tellOutcome(
    `${name}: rules ${value === null ? 'dropped' : 'put'}`,
    await operator.store.putRules(target, value, change),
  );
}

function targetOf(name: string): RuleTarget {
  const [kind, subject, operation] = name.split(':');
  const target = ruleTargetSchema.safeParse(
    kind === 'limiter' ? { kind, limiter: subject } : { kind, channel: subject, operation },
  );
  if (!target.success)
    throw new UsedWrongly(`"${name}" is not a target: channel:bank_a:pay, shadow:bank_a:pay or limiter:merchant`);
  return target.data;
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file === '-' ? 0 : file, 'utf8'));
  } catch (error) {
    throw new UsedWrongly(`${file} cannot be read as JSON: ${String(error)}`);
  }
}
