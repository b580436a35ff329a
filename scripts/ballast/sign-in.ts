// Who sits at the terminal: a name (--as, or BALLAST_OPERATOR) and their password (BALLAST_PASSWORD, or typed). In the demo
// both are in its credentials file.
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import type { Actor, ControlStore } from '@ballast/control';
import { UsedWrongly } from '../system/command.ts';
import { type RunFile, readCredentials } from '../system/run-file.ts';

export interface SignInOptions {
  readonly store: ControlStore;
  readonly run: RunFile | undefined;
  readonly name: string | undefined;
  /** For the audit, should they fail. */
  readonly purpose: string;
}

/** One sign-in for the whole command, when it first changes something. */
export function createSignIn({ store, run, name, purpose }: SignInOptions): () => Promise<Actor> {
  let actor: Promise<Actor> | null = null;
  async function signIn(): Promise<Actor> {
    const demo = run === undefined ? [] : readCredentials(run).operators;
    const who = name ?? process.env['BALLAST_OPERATOR'] ?? demo[0]?.name;
    if (who === undefined) throw new UsedWrongly('Say who you are: --as NAME, or BALLAST_OPERATOR');
    const known = process.env['BALLAST_PASSWORD'] ?? demo.find((one) => one.name === who)?.password;
    return store.signIn({ name: who, password: known ?? (await readPassword(`Password of ${who}: `)), purpose });
  }
  return () => {
    actor ??= signIn();
    return actor;
  };
}

/** Typed, and not shown; from a pipe its first line. */
export async function readPassword(question: string): Promise<string> {
  if (process.stdin.isTTY) process.stderr.write(question);
  const unseen = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: unseen, terminal: process.stdin.isTTY });
  try {
    for await (const line of lines) return line;
    throw new UsedWrongly('No password was given: BALLAST_PASSWORD, or typed.');
  } finally {
    lines.close();
    if (process.stdin.isTTY) process.stderr.write('\n');
  }
}
