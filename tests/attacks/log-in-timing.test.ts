import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { givenUser } from '../given.ts';
import { startHerald, type Herald } from '../start.ts';

/**
 * Whether the time of a refused log-in tells which accounts there are. Both kinds are asked in turn, so that the machine's load meets both
 * alike, and compared by their medians; the difference that is looked for, a password's hash, takes tens of milliseconds.
 */

const ROUNDS = 40;

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'gateway'] });
});
afterAll(() => herald?.stop());

const LOG_IN =
  'mutation ($email: String!, $password: String!) { logIn(email: $email, password: $password) { accessToken } }';

async function timeOf(email: string): Promise<number> {
  const begun = performance.now();
  const { body } = await herald.rest(
    'POST',
    '/graphql',
    { query: LOG_IN, variables: { email, password: 'none of theirs' } },
    { authorization: undefined },
  );
  const took = performance.now() - begun;
  expect(body.errors[0]).toMatchObject({ message: expect.any(String), extensions: { code: 'UNAUTHENTICATED' } });
  return took;
}

const median = (times: number[]) => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;

test(
  'a log-in takes as long with an account that there is as with one that there is not',
  { timeout: 60_000 },
  async () => {
    const emails = await Promise.all(
      Array.from({ length: ROUNDS }, async () => {
        const email = `${randomUUID()}@example.com`;
        await givenUser(herald, { email });
        return email;
      }),
    );
    const known: number[] = [];
    const unknown: number[] = [];
    for (const email of emails) {
      known.push(await timeOf(email));
      unknown.push(await timeOf(`${randomUUID()}@example.com`));
    }
    const [withAccount, without] = [median(known), median(unknown)];
    console.log(
      `a refused log-in: median ${withAccount.toFixed(1)} ms with an account, ${without.toFixed(1)} ms without`,
    );
    expect(Math.abs(withAccount - without) / Math.max(withAccount, without)).toBeLessThan(0.3);
  },
);
