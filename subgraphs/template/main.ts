import { runProcess } from '../../platform/lifecycle.ts';
import { readConfig } from './config.ts';
import { startTemplate } from './start.ts';

await runProcess(readConfig, startTemplate);
