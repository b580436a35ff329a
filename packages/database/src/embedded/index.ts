export { freePort, type Server, type ServerOptions, startServer } from './server.ts';
