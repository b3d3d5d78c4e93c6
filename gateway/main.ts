import { runProcess } from '../platform/lifecycle.ts';
import { readConfig } from './config.ts';
import { startGateway } from './server.ts';

await runProcess(readConfig, startGateway);
