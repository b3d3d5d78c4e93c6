import { readEnvironment } from './config.ts';
import { createChecks } from './checks.ts';

/**
 * `npm run doctor`: reads the environment as every program would, asks everything that it names, and says in a line each what is
 * wrong and the mend. Nothing is sent and nothing is changed. Exits 1 when anything is wrong.
 */
const checks = createChecks(readEnvironment());
let wrong = 0;
for (const { name, run } of checks) {
  try {
    console.log(`✓ ${name}: ${await run()}`);
  } catch (error) {
    wrong += 1;
    console.log(`✗ ${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
console.log(wrong === 0 ? '\nEverything that is set up works.' : `\n${wrong} of ${checks.length} need mending.`);
process.exit(wrong === 0 ? 0 : 1);
