import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { faults } from './faults.ts';
import { startHerald, type Herald } from './herald.ts';
import { runFault, type Result } from './run-fault.ts';
import { prepare, type Given } from './send.ts';
import { renderTable, writeDocument } from './table.ts';

/**
 * `npm run test:faults`: each fault in a run of its own, and a table of what it came to.
 * `-- --only wipe --count 500 --seed x`: those whose name has the text, with other settings.
 */
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    count: { type: 'string', default: '2000' },
    seed: { type: 'string', default: 'herald' },
    /** A folder for the logs of red runs. */
    logs: { type: 'string' },
    /** Keeps the results in docs/faults.md, each as soon as it is there. By itself only a run of all does. */
    write: { type: 'boolean' },
  },
});
const count = Number(values.count);
const chosen = faults.filter(({ name }) => values.only === undefined || new RegExp(values.only, 'i').test(name));
const say = (line: string) => console.log(line);

const order = faults.map(({ name }) => name);
const isKept = values.write ?? (values.only === undefined && count >= 2_000);

const results: Result[] = [];
let herald: { running: Herald; given: Given } | null = null;
for (const fault of chosen) {
  if (fault.skipped !== undefined) {
    say(`– ${fault.name}: skipped, ${fault.skipped}`);
    continue;
  }
  if (herald === null) {
    const running = await startHerald(say);
    herald = { running, given: await prepare(running) };
  }
  const run = `run-${randomUUID().slice(0, 8)}`;
  const { running, given } = herald;
  const started = performance.now();
  const result = await runFault(running, fault, { run, seed: values.seed, count, given }).catch(
    (error: unknown): Result => brokenOff(fault.name, error),
  );
  results.push(result);
  if (isKept) await writeDocument([result], { count, seed: values.seed, order });
  const took = Math.round((performance.now() - started) / 1_000);
  say(
    `${result.problems.length === 0 ? '✓' : '✗'} ${fault.name} (${took} s) ${result.notes.join(', ')}${renderRefusals(result)}`,
  );
  if (result.problems.length > 0) {
    for (const problem of result.problems) say(`    ${problem}`);
    say(await running.lastLines(10));
    if (values.logs !== undefined) await running.copyLogs(join(values.logs, run));
    // What one run has left over must not be told of the next.
    await running.stop();
    herald = null;
  }
}
await herald?.running.stop();

say(`\n${renderTable(results)}`);
process.exit(results.some(({ problems }) => problems.length > 0) ? 1 : 0);

function brokenOff(fault: string, error: unknown): Result {
  const none = {
    accepted: 0,
    delivered: 0,
    failed: 0,
    lost: 0,
    duplicated: 0,
    allowed: 0,
    unknown: 0,
    unknownTaken: 0,
  };
  const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { ...none, fault, drainSeconds: 0, notes: [], refusals: new Map(), problems: [`the run broke off: ${why}`] };
}

function renderRefusals({ refusals }: Result): string {
  const counts = [...refusals].map(([status, times]) => `${times} × ${status === 0 ? 'no answer' : status}`);
  return counts.length === 0 ? '' : ` [sends repeated: ${counts.join(', ')}]`;
}
