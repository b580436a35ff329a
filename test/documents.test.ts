// The documents stand alone: what they, and the sources, point at is in the tree, and their lists are whole.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { invariantsOf } from '../load-tests/checker/check.ts';

const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(file));
const textOf = (file: string) => readFileSync(file, 'utf8');

test('every link of a document leads somewhere', () => {
  const broken = tracked
    .filter((file) => file.endsWith('.md'))
    .flatMap((file) =>
      [...textOf(file).matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, link = '']) => link)
        .filter((link) => !/^https?:/.test(link) && !existsSync(join(dirname(file), link.split('#')[0] || '.')))
        .map((link) => `${file} → ${link}`),
    );
  expect(broken).toEqual([]);
});

test('every heading that a link names is there', () => {
  const broken = tracked
    .filter((file) => file.endsWith('.md'))
    .flatMap((file) =>
      [...textOf(file).matchAll(/\]\(([^)\s#]*)#([^)\s]+)\)/g)]
        .map(([, path = '', anchor = '']) => ({ target: path === '' ? file : join(dirname(file), path), anchor }))
        .filter(({ target, anchor }) => target.endsWith('.md') && !anchorsOf(textOf(target)).has(anchor))
        .map(({ target, anchor }) => `${file} → ${target}#${anchor}`),
    );
  expect(broken).toEqual([]);
});

test('every document that a source names is in the tree', () => {
  const missing = tracked
    .filter((file) => /\.(ts|mjs|sql|yaml|json|sh)$/.test(file) && file !== 'pnpm-lock.yaml')
    .flatMap((file) =>
      [...textOf(file).matchAll(/(?<![\w./-])[\w./-]*[\w-]\.md\b/g)]
        .map(([name]) => name)
        .filter((name) => !existsSync(name) && !existsSync(join(dirname(file), name)))
        .map((name) => `${file}: ${name}`),
    );
  expect(missing).toEqual([]);
});

test('docs/invariants.md lists what the checker evaluates, in its words', () => {
  const rows = textOf('docs/invariants.md').matchAll(/^\| (I-\d\d) \| (always|quiet) \| (.+) \|$/gm);
  const written = [...rows].map(([, id, when, says]) => ({ id, when, says }));
  const sightings = { highest: new Map(), steppedBack: [] };
  const evaluated = invariantsOf(new Set(), sightings).map(({ id, when, says }) => ({ id, when, says }));
  expect(written).toEqual(evaluated.sort((a, b) => a.id.localeCompare(b.id)));
});

test('the list of decisions is whole', () => {
  const pages = readdirSync('docs/decisions').filter((name) => name !== 'README.md');
  const listed = [...textOf('docs/decisions/README.md').matchAll(/\]\((\d{4}-[^)]+)\)/g)].map(([, name]) => name);
  expect(listed).toEqual(pages.sort());
});

/** As GitHub makes them of headings. */
function anchorsOf(document: string): Set<string> {
  const headings = document.matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}
