import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { GraphQLError, GraphQLFormattedError } from 'graphql';
import type { StatusEvent } from '../../contracts/events.ts';
import { deadlineIn } from '../../platform/deadline.ts';
import { readTrace } from '../../platform/trace.ts';
import type { Viewer } from '../../platform/trust.ts';
import type { Engine, Selection } from './engine.ts';
import type { Told } from './status-stream.ts';

/** What a client gets of one event, errors shown as everywhere. */
export type Result = { data?: unknown; errors?: readonly GraphQLFormattedError[] };

/** One selection of one viewer, shared by all subscribers who ask the same. */
export type Execution = {
  /** Each event is executed once, whoever asks how often. Never rejects. */
  run(told: Told): Promise<Result>;
  /** Once for each time that it was given out. */
  release(): void;
};

export type Executions = {
  share(selection: Selection, viewer: Viewer): Execution;
  counts(): { shared: number; runs: number };
};

/** @param show masks an error, and says which request to look for in the log */
export function createExecutions(
  engine: Pick<Engine, 'execute'>,
  { timeoutMs, show }: { timeoutMs: number; show: (error: GraphQLError, requestId: string) => GraphQLFormattedError },
): Executions {
  const shared = new Map<string, { execution: Execution; users: number }>();
  let runs = 0;

  const execute = async (
    selection: Selection,
    viewer: Viewer,
    { event, cursor }: Told,
    outage: Outage,
  ): Promise<Result> => {
    const requestId = randomUUID();
    const trace = readTrace({});
    runs += 1;
    const attempt = () =>
      engine.execute(selection, event, cursor, { viewer, requestId, trace, deadline: deadlineIn(timeoutMs) });
    for (;;) {
      const { waited } = outage;
      await waited;
      const { data, errors } = await attempt();
      const isWhole = errors === undefined || !errors.some(isPassing);
      if (isWhole) outage.waited = null;
      // While a subgraph is started anew, its events wait: with holes they would be lost for whoever has no cursor.
      else if (waited === null) {
        outage.waited ??= untilPassed(attempt);
        continue;
      }
      return errors === undefined ? { data } : { data, errors: errors.map((error) => show(error, requestId)) };
    }
  };

  return {
    share(selection, viewer) {
      const { kind, id, keyId, scopes } = viewer;
      const key = JSON.stringify([kind, id, keyId, scopes, selection.key]);
      const known = shared.get(key);
      if (known !== undefined) {
        known.users += 1;
        return known.execution;
      }
      /** For as long as somebody has still to read it. */
      const results = new WeakMap<StatusEvent, Promise<Result>>();
      const outage: Outage = { waited: null };
      const execution: Execution = {
        run(told) {
          const running = results.get(told.event) ?? execute(selection, viewer, told, outage);
          results.set(told.event, running);
          return running;
        },
        release() {
          const entry = shared.get(key);
          if (entry === undefined) return;
          entry.users -= 1;
          if (entry.users === 0) shared.delete(key);
        },
      };
      shared.set(key, { execution, users: 1 });
      return execution;
    },
    counts: () => ({ shared: shared.size, runs }),
  };
}

/**
 * Null while nothing is known to be away. Else it resolves when that is over, or has lasted so long that events go out with holes, each
 * after one try, until one is whole again: one wait for all, for one after the other they would fall behind by ten seconds each.
 */
type Outage = { waited: Promise<void> | null };

async function untilPassed(attempt: () => ReturnType<Engine['execute']>): Promise<void> {
  for (const delayMs of RETRY_DELAYS_MS) {
    await wait(delayMs * (0.5 + Math.random()), undefined, { ref: false });
    const { errors } = await attempt();
    if (errors === undefined || !errors.some(isPassing)) return;
  }
}

const isPassing = ({ extensions }: GraphQLError) =>
  extensions['code'] === 'UNAVAILABLE' || extensions['code'] === 'TIMEOUT';

/** 10 s together, about as long as a service is started anew. */
const RETRY_DELAYS_MS = [100, 400, 1_500, 3_000, 5_000];
