import { setTimeout as wait } from 'node:timers/promises';
import pretty from 'pino-pretty';
import { renderFatal, signalled } from '../platform/lifecycle.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { readConfig } from './config.ts';
import { startEmbedded, type Progress } from './start.ts';
import { renderWelcome } from './welcome.ts';

/** How long a signal that ended one of our children may take to reach us. */
const SIGNAL_MS = 200;

const say = (line: string) => process.stdout.write(`${line}\n`);

const progress: Progress = async (name, work) => {
  const since = performance.now();
  const result = await work;
  say(`  ✓ ${name} ${((performance.now() - since) / 1_000).toFixed(1)} s`);
  return result;
};

// `npm start`: everything in one process, until Ctrl-C.
try {
  const stopRequested = signalled();
  const stopping = new AbortController();
  void stopRequested.then(() => stopping.abort());
  // Where the terminal is closed, what we still say has no reader; that must not end us before PostgreSQL is stopped.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  const config = readConfig();
  const since = performance.now();
  const logs: Logger[] = [];
  const lines = pretty({ ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l', singleLine: true, sync: true });
  say('Herald is starting');
  const herald = await startEmbedded(config, {
    progress,
    log: (line) => say(`  ${line}`),
    // Until everything runs, only what goes wrong is worth a line.
    createLog: (service) => {
      const log = createLogger(service, 'warn', lines);
      logs.push(log);
      return log;
    },
    signal: stopping.signal,
  }).catch(async (error: unknown) => {
    // A terminal's Ctrl-C goes to our children too, and they may end before we hear of it.
    await wait(SIGNAL_MS);
    if (!stopping.signal.aborted) throw error;
    say('Herald has stopped before it was ready');
    process.exit(0);
  });
  if (!stopping.signal.aborted) {
    for (const log of logs) log.level = config.logLevel;
    say(renderWelcome({ ...herald, seconds: (performance.now() - since) / 1_000 }));
  }

  await stopRequested;
  say('\nHerald is stopping: finishing what is in flight');
  for (const log of logs) log.level = 'warn';
  await herald.stop();
  say('Herald has stopped. Your data is in ' + config.dataDir);
  process.exit(0);
} catch (error) {
  process.stderr.write(`${renderFatal(error)}\n`);
  process.exit(1);
}
