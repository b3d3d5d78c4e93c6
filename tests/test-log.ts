import { beforeEach } from 'vitest';
import { createLogger, type Logger } from '../platform/logger.ts';

const MAX_SHOWN = 200;

/** What the services of this file's stories said since the current test began. */
const lines: string[] = [];

// Whoever imports this file gets the log of a failed test shown, and of the others nothing.
beforeEach(({ onTestFailed, task }) => {
  lines.length = 0;
  onTestFailed(() => {
    const skipped = Math.max(0, lines.length - MAX_SHOWN);
    const shown = lines.slice(skipped).join('');
    process.stderr.write(
      `the log of "${task.name}"${skipped > 0 ? `, without its first ${skipped} lines` : ''}:\n${shown}`,
    );
  });
});

/** A logger that keeps its lines for the case that the test fails. */
export const createTestLogger = (service: string): Logger =>
  createLogger(service, 'debug', { write: (line) => void lines.push(line) });

/** The lines so far of this test, parsed. */
export const logged = (): { level: string; service: string; msg: string; [field: string]: unknown }[] =>
  lines.map((line) => JSON.parse(line));
