import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPool, type Pool } from '../platform/postgres.ts';
import { createClaims, type Claims } from '../workers/claims.ts';
import { giveBack } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { createTestLogger } from './test-log.ts';

let herald: Herald;
let pool: Pool;
let claims: Claims;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  pool = createPool(herald.databaseUrl('worker'), { max: 2, log: createTestLogger('email-worker') });
  claims = createClaims('email', pool, 30);
  user = await givenUser(herald);
  template = await givenTemplate(herald);
});
afterAll(async () => {
  await pool?.end();
  await herald?.stop();
});

async function claimed(id: string): Promise<{ id: string; token: number }> {
  const claim = await claims.claim(id);
  if (typeof claim === 'string') throw new Error(`${id} could not be claimed: ${claim}`);
  return { id, token: claim.token };
}
const start = (claim: { id: string; token: number }) =>
  claims.startAttempt({ ...claim, provider: 'smtp', ended: null });
const keep = ({ id, token }: { id: string; token: number }) =>
  claims.keepOutcome({
    notification_id: id,
    token,
    class: 'accepted',
    reason: null,
    retry_after_seconds: null,
    provider_message_id: null,
    results: null,
  });

test('of two claims of one notification that start at once, the newer one does, and takes no other along', async () => {
  const id = await givenSent(herald, user, template);
  const other = await claimed(await givenSent(herald, user, template));
  const older = await claimed(id);
  await giveBack(herald, id);
  const newer = await claimed(id);
  expect(await Promise.all([start(older), start(newer), start(other)])).toEqual(['lost', 'started', 'started']);
});

test('of two attempts of one notification that are kept at once, each is told its own', async () => {
  const id = await givenSent(herald, user, template);
  const older = await claimed(id);
  await start(older);
  await giveBack(herald, id);
  const newer = await claimed(id);
  await start(newer);
  expect(await keep(older)).toBe(true);
  expect(await Promise.all([keep(older), keep(newer)])).toEqual([false, true]);
});
