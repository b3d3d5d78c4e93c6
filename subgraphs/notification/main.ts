import { runProcess } from '../../platform/lifecycle.ts';
import { readConfig } from './config.ts';
import { startNotification } from './start.ts';

await runProcess(readConfig, startNotification);
