import { parseArgs } from 'node:util';
import { readEnvironment } from './config.ts';
import { createChecks } from './checks.ts';

/**
 * `npm run doctor`: reads the environment as every program would, asks everything that it names, and says in a line each what is
 * wrong and the mend; with `--json` as `{ check, ok, says }`. Nothing is sent and nothing is changed. Exits 1 when anything is wrong.
 */
const { values } = parseArgs({ options: { json: { type: 'boolean', default: false } } });
const tell = (check: string, ok: boolean, says: string) =>
  console.log(values.json ? JSON.stringify({ check, ok, says }) : `${ok ? '✓' : '✗'} ${check}: ${says}`);
const checks = createChecks(readEnvironment());
let wrong = 0;
for (const { name, run } of checks) {
  try {
    tell(name, true, await run());
  } catch (error) {
    wrong += 1;
    tell(name, false, error instanceof Error ? error.message : String(error));
  }
}
if (!values.json)
  console.log(wrong === 0 ? '\nEverything that is set up works.' : `\n${wrong} of ${checks.length} need mending.`);
process.exit(wrong === 0 ? 0 : 1);
