import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { format } from 'prettier';
import type { Result } from './run-fault.ts';

const HEAD = [
  'Fault',
  'Accepted',
  'Delivered',
  'Failed',
  'Lost',
  'Duplicated',
  'Allowed',
  'Unknown',
  'Drained after',
  'Notes',
];
const DOCUMENT = join(import.meta.dirname, '..', '..', 'docs', 'faults.md');

/** The results as a Markdown table. */
export const renderTable = (results: Result[]): string => toTable(results.map(toRow));

const toTable = (rows: string[][]): string => {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  const isText = (column: number) => column === 0 || column === HEAD.length - 1;
  return [line(HEAD), line(HEAD.map((_, column) => (isText(column) ? '---' : '--:'))), ...rows.map(line)].join('\n');
};

const toRow = (result: Result): string[] => [
  `${result.problems.length === 0 ? '' : '✗ '}${result.fault}`,
  String(result.accepted),
  String(result.delivered),
  String(result.failed),
  String(result.lost),
  String(result.duplicated),
  String(result.allowed),
  result.unknown === 0 ? '0' : `${result.unknown}, ${result.unknownTaken} of them taken`,
  `${result.drainSeconds.toFixed(1)} s`,
  result.notes.join('; '),
];

/**
 * Keeps the results in docs/faults.md: beside the rows of other faults there, when those were made in the same way.
 * @param order the names of all faults
 */
export async function writeDocument(
  results: Result[],
  { count, seed, order }: { count: number; seed: string; order: string[] },
): Promise<void> {
  const how = `Written by \`npm run test:faults\` (seed \`${seed}\`), on ${availableParallelism()} cores, ${count.toLocaleString('en')} notifications in each run.`;
  const before = await readFile(DOCUMENT, 'utf8').catch(() => '');
  const rows = new Map(before.includes(how) ? parseRows(before).map((row) => [nameOf(row), row]) : []);
  for (const row of results.map(toRow)) rows.set(nameOf(row), row);
  const sorted = order.map((name) => rows.get(name)).filter((row) => row !== undefined);
  const text = `# What faults did to Herald

${how}

Every part is a process of its own: four services, two email workers, a push worker, RabbitMQ, PostgreSQL, Redis; and a provider of
mail and push messages that keeps a ledger of what it was handed. A client sends at a steady rate and repeats a request with its
\`request_id\` until it is accepted; a fifth of the sends are push messages, and a fifth ask for \`onAmbiguous: FAIL\`. Meanwhile the fault comes, and goes. The lease is 4 s, and the
provider has 2 s to answer.

A run is red when anything accepted was lost or never ended, when a status and the ledger disagree, when a status went backwards,
when the feed has a gap, when anything is left over, when a message was handed over sooner than a provider's Retry-After, or more often than the fault excuses. What is
excused is counted for each notification by itself: one more hand-over for each that the ledger saw open when its worker was killed
or frozen, and for each that the provider took and never answered; with \`FAIL\`, none at all.

- **Lost**: accepted, and neither handed over nor failed.
- **Duplicated**: handed over again after the provider had taken it. **Allowed**: how many the fault excuses.
- **Unknown**: ended as \`OUTCOME_UNKNOWN\`, as \`FAIL\` asks, and how many of these the provider had taken.
- **Drained after**: from the end of the fault and of the sending until nothing was left to do. A lease must run out first, and the
  sweeper looks every 5 s.

${toTable(sorted)}
`;
  await writeFile(DOCUMENT, await format(text, { parser: 'markdown', printWidth: 120 }));
}

const parseRows = (document: string): string[][] =>
  document
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(2)
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );

const nameOf = ([name = '']: string[]) => name.replace(/^✗ /, '');
