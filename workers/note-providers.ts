import { randomUUID } from 'node:crypto';
import type { NotificationType } from '../contracts/jobs.ts';
import type { Running } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import type { Pool } from '../platform/postgres.ts';
import type { Providers } from './providers.ts';

/** Below the minute after which a silent worker is no longer counted. */
const REPEAT_MS = 20_000;

/** Starts telling the database how this worker sees its providers: at each change, and now and then. */
export function startNotingProviders(deps: {
  pool: Pool;
  type: NotificationType;
  providers: Providers;
  log: Logger;
}): Running {
  const { pool, type, providers, log } = deps;
  const worker = `${type}-${randomUUID()}`;
  // One after the other, each with the state of its own moment: an older view must not arrive last.
  let noted: Promise<unknown> = Promise.resolve();
  const note = () => {
    noted = noted
      .then(async () => {
        for (const [place, { name, state }] of providers.chain.entries()) {
          const { state: circuit, reason } = state();
          const values = [worker, type, name, circuit, reason, place];
          await pool.query('SELECT note_provider($1, $2, $3, $4, $5, $6)', values);
        }
      })
      .catch((error: unknown) => {
        log.warn({ err: error }, "the providers' states could not be noted; it is tried again in 20 s");
      });
  };
  note();
  providers.onChange(note);
  const timer = setInterval(note, REPEAT_MS);
  return {
    async stop() {
      clearInterval(timer);
      await noted;
    },
  };
}
