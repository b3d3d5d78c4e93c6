import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { FeedDocument, NotificationDocument } from '../client/generated/operations.ts';
import { createUnsubscribeLinks } from '../subgraphs/notification/unsubscribe-link.ts';
import { givenSent, givenTemplate, givenUser, sendBody } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { logged } from './test-log.ts';
import { until } from './until.ts';

const parts = ['user', 'template', 'notification', 'gateway'] as const;

test(
  'secrets are changed one process after another, and nobody refuses anybody meanwhile',
  { timeout: 120_000 },
  async () => {
    const herald = await startHerald({ broker: 'embedded', parts });
    try {
      const user = await givenUser(herald);
      const template = await givenTemplate(herald);
      const { feed } = await herald.graphql(FeedDocument, {});
      const old = { ...herald.secrets };
      const link = (secret: string) =>
        createUnsubscribeLinks(secret, '').toUrl({ userId: user, templateCode: template }).slice(1);
      const fresh = { user: randomUUID(), template: randomUUID(), notification: randomUUID() };
      const services = ['user', 'template', 'notification'] as const;

      const everythingWorks = async () => {
        const id = await givenSent(herald, user, template);
        const { notification } = await herald.graphql(NotificationDocument, { id });
        expect(notification).toMatchObject({ user: { id: user }, template: { code: template } });
      };
      for (const toSecrets of [
        (name: keyof typeof fresh) => `${old[name]},${fresh[name]}`,
        (name: keyof typeof fresh) => `${fresh[name]},${old[name]}`,
      ]) {
        for (const name of services) herald.secrets[name] = toSecrets(name);
        for (const part of parts) {
          await herald.stopPart(part);
          await herald.startPart(part);
          await everythingWorks();
        }
      }
      // What was made with the old one is still good.
      expect((await herald.graphql(FeedDocument, { after: feed.endCursor })).feed.events.length).toBeGreaterThan(0);
      expect((await herald.rest('GET', `${herald.url}/${link(old.notification)}`)).status).toBe(200);

      for (const name of services) herald.secrets[name] = fresh[name];
      for (const part of parts) {
        await herald.stopPart(part);
        await herald.startPart(part);
        await everythingWorks();
      }
      await expect(herald.graphql(FeedDocument, { after: feed.endCursor })).rejects.toMatchObject({ field: 'after' });
      expect((await herald.rest('GET', `${herald.url}/${link(old.notification)}`)).status).toBe(404);
      expect((await herald.rest('GET', `${herald.url}/${link(fresh.notification)}`)).status).toBe(200);
    } finally {
      await herald.stop();
    }
  },
);

/** Asks every door over and over with whichever key is good now. What it could not reach, or was told to repeat, it repeats, as clients do. */
function startLoad(herald: Herald, user: string, template: string, key: () => string) {
  const refusals: string[] = [];
  let answered = 0;
  let isOn = true;
  const ask = async (...[method, path, body]: Parameters<Herald['rest']>) => {
    const unique = body === undefined ? undefined : sendBody(user, template);
    for (;;) {
      const answer = await herald
        .rest(method, path, unique, { authorization: `Bearer ${key()}` })
        .catch((error: unknown) => {
          if (isUnreached(error)) return null;
          throw error;
        });
      if (answer === null || answer.status === 503) continue;
      answered += 1;
      if (answer.status >= 300 || answer.body.errors) refusals.push(`${path} ${JSON.stringify(answer.body)}`);
      return;
    }
  };
  const doors: (() => Promise<void>)[] = [
    () => ask('POST', '/api/v1/notifications/', {}),
    () => ask('GET', '/api/v1/notifications/?first=1'),
    () => ask('GET', `/api/v1/users/${user}`),
    () => ask('GET', `/api/v1/templates/${template}`),
  ];
  const loops = doors.map(async (door) => {
    while (isOn) await door();
  });
  return {
    answered: () => answered,
    async stop() {
      isOn = false;
      await Promise.all(loops);
      return refusals;
    },
  };
}

/** Nobody listens at this moment, or the connection was cut before an answer. */
const isUnreached = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'].includes(String(error.code));

test(
  'keys and secrets are changed one process after another while requests flow, and none of them is refused',
  { timeout: 120_000 },
  async () => {
    const all = [...parts, 'email'] as const;
    const herald = await startHerald({ broker: 'embedded', parts: all });
    try {
      const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
      const names = ['user', 'template', 'notification', 'admin', 'worker'] as const;
      const old = { ...herald.secrets };
      const fresh = Object.fromEntries(names.map((name) => [name, randomUUID()])) as typeof old;
      let good = [old.admin];
      const load = startLoad(herald, user, template, () => good[Math.floor(Math.random() * good.length)] ?? '');

      const roll = async (toSecrets: (name: (typeof names)[number]) => string) => {
        for (const name of names) herald.secrets[name] = toSecrets(name);
        for (const part of all) {
          await herald.stopPart(part);
          await herald.startPart(part);
          const before = load.answered();
          await until(() => load.answered() > before + 20);
        }
      };
      await roll((name) => `${old[name]},${fresh[name]}`);
      good = [old.admin, fresh.admin];
      await roll((name) => `${fresh[name]},${old[name]}`);
      good = [fresh.admin];
      await roll((name) => fresh[name]);
      expect(await load.stop()).toEqual([]);
      // What one process of ours refuses another, a client sees as a service that is away.
      const refused = /not from one of ours|can't be asked: it answered 40|answered 401/;
      expect(logged().filter((line) => refused.test(JSON.stringify(line)))).toEqual([]);
      await herald.drained({ timeoutMs: 30_000 });
      const outcomes = 'SELECT status, count(*)::integer FROM notification GROUP BY status';
      expect(await herald.sql('notification', outcomes)).toEqual([{ status: 'delivered', count: expect.any(Number) }]);

      // And the old ones open nothing any more.
      for (const path of ['/api/v1/notifications/', `/api/v1/users/${user}`, `/api/v1/templates/${template}`])
        expect((await herald.rest('GET', path, undefined, { authorization: `Bearer ${old.admin}` })).status).toBe(401);
    } finally {
      await herald.stop();
    }
  },
);
