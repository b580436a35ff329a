// The only reader of the environment.
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const schema = z.strictObject({
  banks: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[a-z0-9_]{1,32}$/),
        port: z.int().min(0).max(65535),
        books_dir: z.string().min(1),
        latency: z
          .strictObject({ p50_ms: z.number().min(0), p99_ms: z.number().min(0) })
          .default({ p50_ms: 0, p99_ms: 0 }),
        /** Share of references that are declined, chosen by the reference, so that a repeat gets the same answer. */
        decline_rate: z.number().min(0).max(1).default(0),
        livemode: z.boolean().default(false),
        keeps_early_reversals: z.boolean().default(false),
      }),
    )
    .min(1),
  admin_port: z.int().min(0).max(65535),
});

export type BankConfig = z.infer<typeof schema>['banks'][number];

/** Where the file is wrong the process ends here: one line that names the field, exit code 1. */
export function readConfig() {
  const file = process.env['BALLAST_CONFIG'];
  if (file === undefined) return refuse('BALLAST_CONFIG', 'must name the configuration file');
  const parsed = schema.safeParse(readJson(file));
  if (parsed.success) return Object.freeze(parsed.data);
  const [issue] = parsed.error.issues;
  return refuse(issue?.path.join('.') || 'the whole file', issue?.message ?? 'does not fit');
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    return refuse('the whole file', error instanceof Error ? error.message : String(error));
  }
}

/** A copy of what the services say: the witness shares no code with them. */
function refuse(field: string, problem: string): never {
  const msg = `the configuration is wrong: ${field}: ${problem}`;
  const line = { level: 'fatal', time: new Date().toISOString(), service: 'bank-simulator', field, problem, msg };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  process.exit(1);
}
