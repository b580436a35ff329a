export { type App, type AppOptions, createApp } from './app.ts';
export { requireBearer } from './bearer.ts';
export { listen, listenSchema, tlsOf } from './listen.ts';
export { problemReplies } from './problems.ts';
