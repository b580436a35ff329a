export { type App, type AppOptions, createApp } from './app.ts';
export { requireBearer } from './bearer.ts';
export { listen, listenSchema } from './listen.ts';
export { problemReplies } from './problems.ts';
