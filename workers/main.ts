import { runProcess } from '../platform/lifecycle.ts';
import { readConfig } from './config.ts';
import { startWorker } from './start.ts';

await runProcess(readConfig, startWorker);
