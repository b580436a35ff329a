// What a follower holds, and how it moves. Its source says where it is from:
//
//   built_in   nothing was ever known: the services' own conservative rules
//   persisted  what the service kept in its own database
//   disk       the last known document on local disk
//   control    what the control database said last
//
// It only moves to a later document. The control database may be away (the last one stays, overrides end on time), come
// back old or with another history (it stays, and says so), or hold nonsense (the last good entry stays, and says so).
import type { Drill } from '@ballast/contracts';
import { createDatabaseTime } from './database-time.ts';
import { type ControlDocument, emptyDocument, isLater, readDocument } from './document.ts';
import { type KeptCopy, readKeptCopy, timeMarkOf, writeKeptCopy } from './kept-copy.ts';
import { type ControlSource, type ControlState, keyOf, stateAt } from './state.ts';

/** pino fits. */
export interface ControlLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface HeldOptions {
  readonly stateDir: string;
  /** Called at once, and whenever what is in force changes. May throw: then nothing was applied, and it is told so. */
  readonly onChange: (state: ControlState) => void;
  readonly log: ControlLog;
  /** Keeps every document applied in a place of the service's own; a slow one skips those in between, never the last. */
  readonly persist?: (copy: KeptCopy) => Promise<void>;
  readonly loadPersisted?: () => Promise<unknown>;
}

/** What the control database says of itself in one short question. */
export interface Head {
  readonly generation: number;
  readonly version: number;
  /** Its hash at the version that is held. */
  readonly anchor: string;
  readonly trips: number;
  readonly now_ms: number;
}

type Problem = 'database' | 'document' | 'apply' | 'disk';

const LOAD_PERSISTED_MS = 2_000;
/** A drill that nobody can stop is over. */
const DRILL_CONTACT_MS = 3_000;

export type Held = ReturnType<typeof createHeld>;

export function createHeld(options: HeldOptions, shares: ReadonlyMap<string, number>) {
  const { log } = options;
  const time = createDatabaseTime();
  const trippedHere = new Set<string>();
  const problems = new Map<Problem, string>();
  const persisted = keepLast(options.persist, (error) =>
    log.warn({ problem: String(error) }, 'control: not kept in the database of the service'),
  );
  let document: ControlDocument = emptyDocument;
  let source: ControlSource = 'built_in';
  let appliedKey = '';
  let contactAt = Number.NEGATIVE_INFINITY;
  let trips = 0;

  function setProblem(kind: Problem, text: string | null): void {
    if (text === (problems.get(kind) ?? null)) return;
    if (text === null) problems.delete(kind);
    else problems.set(kind, text);
    log.warn({ version: document.version, problem: text }, `control: ${text ?? `${kind} is well again`}`);
  }

  function stateOf(of: ControlDocument, from: ControlSource): ControlState {
    const mayRun = (drill: Drill) => !trippedHere.has(drill.id) && performance.now() - contactAt < DRILL_CONTACT_MS;
    return stateAt(of, from, { now: time.now(), drillsMayRun: mayRun }, new Map(shares));
  }

  /** False: the service would not take it, and what was in force before stays. */
  function apply(next: ControlDocument, from: ControlSource): boolean {
    const state = stateOf(next, from);
    const key = keyOf(state);
    if (key === appliedKey) return true;
    try {
      options.onChange(state);
    } catch (error) {
      setProblem('apply', `version ${next.version} could not be applied: ${String(error)}`);
      return false;
    }
    setProblem('apply', null);
    appliedKey = key;
    return true;
  }

  function keep(): void {
    const copy: KeptCopy = { format: 1, time: time.mark(), document };
    try {
      writeKeptCopy(options.stateDir, copy);
      setProblem('disk', null);
    } catch (error) {
      setProblem('disk', `not kept on disk: ${String(error)}`);
    }
    persisted.keep(copy);
  }

  /** Takes over what was kept, where it is later than what is held. */
  async function load(from: 'disk' | 'persisted', read: () => unknown): Promise<void> {
    try {
      const value = await read();
      if (value === undefined || value === null) return;
      const judged = readDocument((value as { document?: unknown }).document, document);
      const mark = timeMarkOf(value);
      if (judged.kind === 'nonsense' || mark === undefined) throw new Error('nonsense');
      if (!isLater(judged.document, document)) return;
      time.resume(mark);
      if (apply(judged.document, from)) ({ document, source } = { document: judged.document, source: from });
    } catch (error) {
      log.warn({ source: from, error: String(error) }, 'control: what was kept cannot be used');
    }
  }

  return {
    get version() {
      return document.version;
    },
    get generation() {
      return document.generation;
    },
    get source() {
      return source;
    },
    get problem() {
      return problems.size === 0 ? null : [...problems.values()].join('; ');
    },
    get document() {
      return document;
    },
    now: time.now,
    state: () => stateOf(document, source),

    /** What was kept is in force, or the built-in rules are. */
    start: async (): Promise<void> => {
      await load('disk', () => readKeptCopy(options.stateDir));
      const { loadPersisted } = options;
      if (loadPersisted !== undefined) await load('persisted', () => within(LOAD_PERSISTED_MS, loadPersisted()));
      apply(document, source);
      log.info({ source, generation: document.generation, version: document.version }, 'control: started');
    },

    /** The control database answered; true: its document is worth reading. */
    hear: (head: Head, askedAt: number): boolean => {
      contactAt = performance.now();
      time.measured(askedAt, contactAt, head.now_ms);
      const refusal = whyNotFollow(head, document);
      setProblem('database', refusal);
      const { generation, version } = document;
      const isNews = head.generation !== generation || head.version !== version || head.trips !== trips;
      // While something is wrong each look may be the one that finds it mended.
      return refusal === null && (isNews || source !== 'control' || problems.size > 0);
    },

    adopt: (value: unknown, head: Head): void => {
      trips = head.trips;
      const read = readDocument(value, document);
      const found = read.kind === 'nonsense' ? [read.problem] : read.problems;
      setProblem('document', found.length === 0 ? null : found.join('; '));
      if (read.kind === 'nonsense' || !apply(read.document, 'control')) return;
      const { generation, version } = document;
      const isNew = read.document.version !== version || read.document.generation !== generation;
      document = read.document;
      source = 'control';
      if (isNew) log.info({ generation: document.generation, version: document.version }, 'control: applied');
      if (isNew || problems.has('disk')) keep();
    },

    /** Time has passed, or a share has changed. */
    refresh: (): void => {
      apply(document, source);
    },

    /** A stop condition was met here: this process does not wait for the others. */
    trip: (drill: string): void => {
      trippedHere.add(drill);
      apply(document, source);
    },

    close: () => persisted.close(),
  };
}

/** Null: what the database holds is the same or later, of the same history. */
function whyNotFollow(head: Head, held: ControlDocument): string | null {
  if (head.generation > held.generation) return null;
  if (head.generation < held.generation)
    return `the control database is of generation ${head.generation}, and ${held.generation} was applied already`;
  if (head.version < held.version)
    return `the control database came back old: version ${head.version}, and ${held.version} was applied already`;
  return head.anchor === held.anchor
    ? null
    : `the control database has another history at version ${held.version}: restored, and changed since?`;
}

/** One write at a time; while it runs only the newest waits. */
function keepLast(write: HeldOptions['persist'], onError: (error: unknown) => void) {
  let waiting: KeptCopy | null = null;
  let writing: Promise<void> = Promise.resolve();
  async function drain(persist: NonNullable<HeldOptions['persist']>): Promise<void> {
    const copy = waiting;
    waiting = null;
    if (copy !== null) await persist(copy);
  }
  return {
    keep: (copy: KeptCopy): void => {
      if (write === undefined) return;
      const isFirst = waiting === null;
      waiting = copy;
      if (isFirst) writing = writing.then(() => drain(write)).catch(onError);
    },
    close: (): Promise<void> => writing,
  };
}

/** What `work` resolves to, or undefined after `ms`. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
