// `npm test`: everything a change must pass. The launcher has installed already, so this is the gate.
await import('./gate.ts');
