// A service's configuration: one JSON file, judged by the service's own schema. What is wrong with it is one log line that
// names the file and the field. Never the value: it may be a secret.
import { readFileSync } from 'node:fs';
import { createLogger, flushLog } from './log.ts';

/** zod fits. */
interface Schema<T> {
  safeParse(
    value: unknown,
  ):
    | { readonly success: true; readonly data: T }
    | { readonly success: false; readonly error: { readonly issues: readonly Issue[] } };
}

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** `file`: what BALLAST_CONFIG names. Frozen; where it is wrong the process ends here, with its log line and exit code 1. */
export function readConfigFile<T extends object>(
  service: string,
  file: string | undefined,
  schema: Schema<T>,
): Readonly<T> {
  const refuse = (field: string, problem: string): never => {
    const logger = createLogger({ service, level: 'fatal' });
    logger.fatal({ file, field, problem }, `the configuration is wrong: ${field}: ${problem}`);
    flushLog();
    process.exit(1);
  };
  if (file === undefined) return refuse('BALLAST_CONFIG', 'must name the configuration file');
  const parsed = schema.safeParse(readJson(file, refuse));
  if (parsed.success) return Object.freeze(parsed.data);
  const [issue] = parsed.error.issues;
  return refuse(issue?.path.join('.') || 'the whole file', issue?.message ?? 'does not fit');
}

function readJson(file: string, refuse: (field: string, problem: string) => never): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    // JSON.parse quotes the text around the fault, which may be a secret.
    if (error instanceof SyntaxError) return refuse('the whole file', `is not JSON${placeOf(error)}`);
    return refuse('BALLAST_CONFIG', `cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`);
  }
}

function placeOf({ message }: SyntaxError): string {
  const [place] = /at position \d+/.exec(message) ?? [];
  return place === undefined ? '' : ` (${place})`;
}
