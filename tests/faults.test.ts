import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { faults } from './faults/faults.ts';
import { startHerald, type Herald } from './faults/herald.ts';
import { runFault } from './faults/run-fault.ts';
import { prepare, type Given } from './faults/send.ts';

const { rabbitmq, redis } = inject('privateServices');

/** The faults of `npm run test:faults` that break most, on few notifications; all of them, and the table, are its own. */
const COUNT = 400;
const SHORT = [
  'kill -9 a worker before it reports',
  'kill -9 the notification service',
  "delete RabbitMQ's data",
  'stop PostgreSQL at once, and start it again',
  'the workers away, with everything waiting',
];

describe.skipIf(!rabbitmq || !redis)('Herald, as processes of their own, under faults', { timeout: 150_000 }, () => {
  let herald: Herald;
  let given: Given;
  beforeAll(async () => {
    herald = await startHerald(() => {});
    given = await prepare(herald);
  }, 90_000);
  afterAll(() => herald?.stop());

  it.each(SHORT)('keeps its promises: %s', async (name) => {
    const fault = faults.find((candidate) => candidate.name === name);
    if (fault === undefined) throw new Error(`there is no fault ${name}`);
    const run = `short-${SHORT.indexOf(name)}`;
    const { problems, accepted, lost } = await runFault(herald, fault, {
      run,
      seed: 'short',
      count: COUNT,
      given,
    }).catch(async (cause: unknown) => {
      throw new Error(`${(cause as Error).message}\n${await herald.lastLines(10)}`, { cause });
    });
    expect({ problems, accepted, lost }, await herald.lastLines(10)).toEqual({
      problems: [],
      accepted: COUNT * (fault.times ?? 1),
      lost: 0,
    });
  });
});
