// Loaded into the process under test by `node --import`, before anything of it: turns the lines `// step: …` of its sources
// into failpoints and puts the patches in. A process started without it has comments there, at no cost.
import { registerHooks } from 'node:module';
import './failpoints.ts';
import { type Patch, plants, quickClock } from './patches.ts';

const { plant } = JSON.parse(process.env['BALLAST_SWEEP'] ?? '{}') as { plant?: string };
const planted = plants.find(({ name }) => name === plant);
if (plant !== undefined && planted === undefined) throw new Error(`there is no fault "${plant}" to plant`);

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!/\/(services|packages)\/[^/]+\/src\//.test(url)) return loaded;
    const before = String(loaded.source);
    const after = withSteps(patched(url, patched(url, before, planted?.patches ?? []), quickClock));
    return after === before ? loaded : { ...loaded, source: after };
  },
});

function patched(url: string, source: string, patches: readonly Patch[]): string {
  return patches
    .filter(({ file }) => url.endsWith(`/${file}`))
    .reduce((text, { file, from, to }) => {
      if (!text.includes(from)) throw new Error(`sweep: ${file} does not contain what is to be patched: ${from}`);
      process.send?.({ patched: file });
      return text.replace(from, () => to);
    }, source);
}

function withSteps(source: string): string {
  return source
    .replaceAll(/^\s*\/\/ step: (.+)$/gm, (_line, label: string) => `await sweep.at(${JSON.stringify(label)});`)
    .replaceAll(/^\s*\/\/ passing step: (.+)$/gm, (_line, label: string) => `sweep.pass(${JSON.stringify(label)});`);
}
