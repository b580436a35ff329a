#!/usr/bin/env node
// `npx ballast …`: the same as `npm run ballast -- …`.
process.argv.splice(2, 0, 'ballast');
await import('./run.mjs');
