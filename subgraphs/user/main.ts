import { runProcess } from '../../platform/lifecycle.ts';
import { readConfig } from './config.ts';
import { startUser } from './start.ts';

await runProcess(readConfig, startUser);
