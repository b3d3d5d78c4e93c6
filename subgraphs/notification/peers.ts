import { LRUCache } from 'lru-cache';
import { toLiveTokens, type PushToken } from '../../contracts/message.ts';
import { NOTIFICATION_SERVICE } from '../../contracts/scopes.ts';
import { createBatcher } from '../../platform/batch.ts';
import type { Deadline } from '../../platform/deadline.ts';
import { ServiceUnavailable, type ServiceClient } from '../../platform/service-client.ts';
import type { Trace } from '../../platform/trace.ts';
import type { DeclaredVariable } from '../rendering/declared-variables.ts';
import type { TemplateContent } from '../rendering/render-message.ts';

/** Whom a send goes to, as the user service knows them now. */
export type Recipient = {
  id: string;
  name: string;
  email: string | null;
  /** Of the devices that are not dead. */
  pushTokens: PushToken[];
  locale: string | null;
  contactVersion: number;
};

/** The same with what a worker would ask before it sends. */
export type RecipientAtSend = Recipient & {
  preferences: { email: boolean; push: boolean };
  deadTokens: { id: string; kind: string; deadAt: string }[];
};

/** The published version of a template, and what of the template itself a send needs. */
export type PublishedTemplate = TemplateSettings & TemplateVersion;

/** May change at any time. */
type TemplateSettings = { defaultLocale: string; sensitive: boolean; unsubscribable: boolean };

/** A version with all its languages. It never changes. */
type TemplateVersion = { number: number; contents: TemplateContent[]; declaredVariables: DeclaredVariable[] };

export type Peers = ReturnType<typeof createPeers>;

/**
 * Asks the user and the template service. Concurrent calls share one `_entities` request each; users, a template's
 * settings and the number of its published version are never cached, the content of a version always.
 * Every function rejects with ServiceUnavailable.
 */
export function createPeers(users: ServiceClient, templates: ServiceClient) {
  // Promises, so that many first sends from one template ask once.
  const versions = new LRUCache<string, Promise<TemplateVersion | null>>({ max: 500 });

  const findCurrent = createBatcher(
    (asked: Asked[]) =>
      fetchEntities<TemplateSettings & { currentVersion: { number: number } | null }>(
        templates,
        'Template',
        'code',
        '{ defaultLocale sensitive unsubscribable currentVersion { number } }',
        asked,
      ),
    PEER_BATCH,
  );

  return {
    /** Null when there is no such user. */
    findRecipient: createBatcher(
      async (asked: Asked[]) =>
        (await fetchEntities<UserEntity>(users, 'User', 'id', RECIPIENT, asked)).map(
          (user) => user && toRecipient(user),
        ),
      PEER_BATCH,
    ),

    /** Null when there is no such user. Costs more than `findRecipient`: no send asks it. */
    findRecipientAtSend: createBatcher(
      async (asked: Asked[]) =>
        (await fetchEntities<UserAtSendEntity>(users, 'User', 'id', RECIPIENT_AT_SEND, asked)).map(
          (user) => user && toRecipientAtSend(user),
        ),
      PEER_BATCH,
    ),

    /** The published version; null when there is no such template or none is published. */
    async findPublished(asked: Asked): Promise<PublishedTemplate | null> {
      const template = await findCurrent(asked);
      if (!template?.currentVersion) return null;
      const { currentVersion, ...settings } = template;
      const version = await findVersion(asked, currentVersion.number);
      return version && { ...settings, ...version };
    },
  };

  function findVersion({ key, requestId, trace }: Asked, number: number): Promise<TemplateVersion | null> {
    const name = `${key}@${number}`;
    const known = versions.get(name);
    if (known !== undefined) return known;
    // Not by the deadline of whoever comes first: others, with more time, wait for the same answer.
    const version = fetchVersion(templates, { key, requestId, trace }, number);
    versions.set(name, version);
    const forget = () => void versions.delete(name);
    version.then((found) => found === null && forget(), forget);
    return version;
  }
}

async function fetchVersion(templates: ServiceClient, asked: Asked, number: number): Promise<TemplateVersion | null> {
  const selection = `{ version(number: ${number}) ${VERSION} }`;
  const [template] = await fetchEntities<{ version: TemplateVersion | null }>(
    templates,
    'Template',
    'code',
    selection,
    [asked],
  );
  return template?.version ?? null;
}

type UserEntity = Omit<Recipient, 'pushTokens'> & {
  pushTokens: Parameters<typeof toLiveTokens>[0];
};

const toRecipient = ({ pushTokens, ...user }: UserEntity): Recipient => ({
  ...user,
  pushTokens: toLiveTokens(pushTokens),
});

type UserAtSendEntity = UserEntity & { preferences: RecipientAtSend['preferences'] };

const toRecipientAtSend = (user: UserAtSendEntity): RecipientAtSend => ({
  ...toRecipient(user),
  preferences: user.preferences,
  deadTokens: user.pushTokens.flatMap(({ id, kind, deadAt }) =>
    deadAt === null ? [] : [{ id, kind: kind.toLowerCase(), deadAt }],
  ),
});

/** Several at a time, so that one slow answer does not hold up everybody behind it. */
const PEER_BATCH = { maxItems: 200, maxInFlight: 8 };

const RECIPIENT_FIELDS = 'id name email pushTokens { id kind token deadAt } locale contactVersion';
const RECIPIENT = `{ ${RECIPIENT_FIELDS} }`;
const RECIPIENT_AT_SEND = `{ ${RECIPIENT_FIELDS} preferences { email push } }`;
const VERSION =
  '{ number declaredVariables { name type required } contents { locale email { subject html text } push { title body image link data ttlSeconds collapseKey } } }';

/** A user's id or a template's code, and the request it is asked for. */
export type Asked = { key: string; requestId: string; trace?: Trace | undefined; deadline?: Deadline | undefined };

async function fetchEntities<Entity>(
  service: ServiceClient,
  typename: string,
  keyField: string,
  selection: string,
  asked: Asked[],
): Promise<(Entity | null)[]> {
  const [first] = asked;
  const { data, errors } = await service.graphql(
    {
      query: `query Entities($representations: [_Any!]!) { _entities(representations: $representations) { ... on ${typename} ${selection} } }`,
      variables: { representations: asked.map(({ key }) => ({ __typename: typename, [keyField]: key })) },
    },
    // One question for many requests: it carries the trace of the first, and lasts until the last one's time is over.
    { viewer: NOTIFICATION_SERVICE, requestId: first?.requestId ?? '', ...(first?.trace && { trace: first.trace }) },
    Math.max(...asked.map(({ deadline = Infinity }) => deadline)),
  );
  const [error] = errors ?? [];
  if (error !== undefined)
    throw new ServiceUnavailable(`the ${typename.toLowerCase()} service answered: ${error.message}`);
  return data?.['_entities'] as (Entity | null)[];
}
