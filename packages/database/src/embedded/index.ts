export { reachableDataDir, runAs } from './binaries.ts';
export { freePort, type Server, type ServerOptions, startServer } from './server.ts';
