import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { FeedDocument, NotificationDocument } from '../client/generated/operations.ts';
import { createUnsubscribeLinks } from '../subgraphs/notification/unsubscribe-link.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald } from './start.ts';

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
