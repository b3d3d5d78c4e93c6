import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { STATUS_OF, type RefusalCode } from '../../platform/refusal.ts';
import { toSnakePath } from '../../platform/rest/spelling.ts';
import { readTables } from '../attacks/table-rows.ts';
import { startHerald, type Herald } from '../start.ts';
import { until } from '../until.ts';
import { operations } from './document.ts';
import { givenSubject, type Subject } from './prepare.ts';

/** `FRESH` in it is another name each time that it is said. */
const freshly = <Value>(value: Value): Value =>
  JSON.parse(JSON.stringify(value ?? null).replaceAll('FRESH', randomUUID())) as Value;

/** One thing said in both languages. `rest`: path and query, body; `graphql`: a field and its arguments. */
type Pair = {
  rest: (subject: Subject) => [path: string, body?: object];
  graphql: (subject: Subject) => [field: string, args: Record<string, unknown>];
};
type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

const NOTIFICATION = `id notificationType user { id } template { code } requestId status reason priority metadata
  attempts createdAt updatedAt`;
const USER = 'id name email pushToken preferences { email push }';
const PAGE = 'pageInfo { hasNextPage endCursor }';

/** Each argument's type, and what is asked of each field. */
const FIELDS: Record<string, [kind: 'query' | 'mutation', args: Record<string, string>, selection: string]> = {
  sendNotification: ['mutation', { input: 'SendNotificationInput!' }, '{ notification { id } }'],
  notifications: [
    'query',
    { filter: 'NotificationFilter', first: 'Int!', after: 'String' },
    `{ edges { node { ${NOTIFICATION} } } ${PAGE} }`,
  ],
  notification: [
    'query',
    { id: 'ID!' },
    `{ ${NOTIFICATION} deliveryAttempts {
      number provider outcome reason retryAfterSeconds providerMessageId startedAt finishedAt
    } }`,
  ],
  cancelNotification: ['mutation', { id: 'ID!', reason: 'String' }, '{ cancelled }'],
  createStreamToken: ['mutation', { notificationId: 'ID!' }, '{ token }'],
  replayNotification: ['mutation', { id: 'ID!', reason: 'String' }, '{ id }'],
  replayNotifications: [
    'mutation',
    { filter: 'NotificationFilter!', perSecond: 'Int!', limit: 'Int!', reason: 'String' },
    '{ replayed }',
  ],
  discardNotification: ['mutation', { id: 'ID!', reason: 'String!' }, '{ id }'],
  discardNotifications: [
    'mutation',
    { filter: 'NotificationFilter!', limit: 'Int!', reason: 'String!' },
    '{ discarded }',
  ],
  reportStatus: ['mutation', { notificationType: 'NotificationType!', reports: '[StatusReportInput!]!' }, '{ code }'],
  createUser: ['mutation', { input: 'CreateUserInput!' }, '{ id }'],
  users: ['query', { search: 'String', first: 'Int!', after: 'String' }, `{ edges { node { ${USER} } } ${PAGE} }`],
  user: ['query', { id: 'ID!' }, `{ ${USER} }`],
  updateUser: ['mutation', { id: 'ID!', input: 'UpdateUserInput!' }, '{ id }'],
  deleteUser: ['mutation', { id: 'ID!' }, ''],
  setPreferences: ['mutation', { userId: 'ID!', preferences: 'PreferencesInput!' }, '{ id }'],
  createTemplate: ['mutation', { input: 'CreateTemplateInput!' }, '{ code }'],
  templates: [
    'query',
    { search: 'String', first: 'Int!', after: 'String' },
    `{ edges { node { code defaultLocale currentVersion { number publishedAt } } } ${PAGE} }`,
  ],
  template: [
    'query',
    { code: 'ID!' },
    `{ code
      currentVersion { content {
        locale email { subject html text } push { title body image link data ttlSeconds collapseKey }
      } }
      versions { edges { node {
        number isPublished basedOn reason createdAt createdBy publishedAt publishedBy missingLocales
      } } ${PAGE} } }`,
  ],
  draftTemplateVersion: ['mutation', { input: 'DraftTemplateVersionInput!' }, '{ number }'],
  publishTemplate: ['mutation', { code: 'ID!', number: 'Int!', reason: 'String' }, '{ code }'],
  rollBackTemplate: ['mutation', { code: 'ID!', number: 'Int', reason: 'String' }, '{ code }'],
  previewTemplate: ['query', { input: 'PreviewTemplateInput!' }, '{ locale }'],
};

const SENDS = '/api/v1/notifications/';
const USERS = '/api/v1/users/';
const TEMPLATES = '/api/v1/templates/';
const NOBODY = '0199f0c4-5d1e-7b3a-9c41-2f6f0a7d1e55';

const send = (fields: object = {}, given: object = {}): Pair => ({
  rest: ({ user_id, code }) => [
    SENDS,
    {
      notification_type: 'email',
      user_id,
      template_code: code,
      variables: { name: 'Ada' },
      request_id: 'FRESH',
      ...fields,
    },
  ],
  graphql: ({ user_id, code }) => [
    'sendNotification',
    {
      input: {
        notificationType: 'EMAIL',
        userId: user_id,
        templateCode: code,
        variables: { name: 'Ada' },
        requestId: 'FRESH',
        ...fields,
        ...given,
      },
    },
  ],
});
/** The same names in both. */
const make = (path: string, field: string, fields: object): Pair => ({
  rest: () => [path, fields],
  graphql: () => [field, { input: fields }],
});
const act = (name: string, field: string, body: object, args: object = body): Pair => ({
  rest: ({ notification_id }) => [`${SENDS}${notification_id}/${name}/`, body],
  graphql: ({ notification_id }) => [field, { id: notification_id, ...args }],
});
const ofUser = (field: string, body: object | undefined, wrap: (id: string) => object, end = ''): Pair => ({
  rest: ({ user_id }) => [`${USERS}${user_id}${end}`, body],
  graphql: ({ user_id }) => [field, { ...wrap(user_id) }],
});
const ofTemplate = (end: string, field: string, body: object | undefined, wrap: (code: string) => object): Pair => ({
  rest: ({ code }) => [`${TEMPLATES}${code}${end}`, body],
  graphql: ({ code }) => [field, { ...wrap(code) }],
});
const email = { subject: 'Hello {{ name }}', html: '<p>{{ name }}</p>' };
const person = { name: 'Bob', email: 'FRESH@example.com', password: 'correct horse' };
const read = (field: string, path: (subject: Subject) => string, args: (subject: Subject) => object): Pair => ({
  rest: (subject) => [path(subject)],
  graphql: (subject) => [field, { ...args(subject) }],
});
const report = (fields: object, given: object): Pair => ({
  rest: ({ notification_id }) => ['/api/v1/email/status/', { notification_id, ...fields }],
  graphql: ({ notification_id }) => [
    'reportStatus',
    { notificationType: 'EMAIL', reports: [{ notificationId: notification_id, ...given }] },
  ],
});

/** Of every operation: what goes well, then what is refused. */
const PAIRS: Record<string, Record<string, Pair>> = {
  sendNotifications: {
    'a send': send(),
    'a push message, with all that may be said': send(
      { notification_type: 'push', priority: 9, metadata: { a: 1 }, locale: 'de', on_ambiguous: 'fail' },
      { notificationType: 'PUSH', onAmbiguous: 'FAIL', notification_type: undefined, on_ambiguous: undefined },
    ),
    'nobody there': send({ user_id: NOBODY }, { userId: NOBODY, user_id: undefined }),
    'no such template': send({ template_code: 'none' }, { templateCode: 'none', template_code: undefined }),
    'a priority out of bounds': send({ priority: 11 }),
    'an empty request_id': send({ request_id: '' }, { requestId: '', request_id: undefined }),
    'a locale that is none': send({ locale: '?' }),
    'a moment that has passed': send(
      { expires_at: '2020-01-01T00:00:00Z' },
      { expiresAt: '2020-01-01T00:00:00Z', expires_at: undefined },
    ),
    'a missing variable': send({ variables: {} }),
  },
  listNotifications: {
    'a filter': read(
      'notifications',
      () => `${SENDS}?status=failed&first=3`,
      () => ({ filter: { status: 'FAILED' }, first: 3 }),
    ),
    'the newest': read(
      'notifications',
      () => `${SENDS}?first=3`,
      () => ({ first: 3 }),
    ),
    'a page too long': read(
      'notifications',
      () => `${SENDS}?first=201`,
      () => ({ first: 201 }),
    ),
    'a cursor that is none': read(
      'notifications',
      () => `${SENDS}?after=x`,
      () => ({ first: 50, after: 'x' }),
    ),
    'a user that is none': read(
      'notifications',
      () => `${SENDS}?user_id=x`,
      () => ({ first: 50, filter: { userId: 'x' } }),
    ),
  },
  readNotification: {
    one: read(
      'notification',
      ({ notification_id }) => SENDS + notification_id,
      ({ notification_id }) => ({ id: notification_id }),
    ),
  },
  listAttempts: {
    some: read(
      'notification',
      ({ notification_id }) => `${SENDS}${notification_id}/attempts/`,
      ({ notification_id }) => ({ id: notification_id }),
    ),
  },
  readStatus: {
    one: read(
      'notification',
      ({ notification_id }) => `/api/v1/email/status/${notification_id}`,
      ({ notification_id }) => ({ id: notification_id }),
    ),
  },
  cancelNotification: { 'in time': act('cancel', 'cancelNotification', { reason: 'a mistake' }) },
  createStreamToken: {
    one: {
      rest: ({ notification_id }) => [`${SENDS}${notification_id}/stream-token/`],
      graphql: ({ notification_id }) => ['createStreamToken', { notificationId: notification_id }],
    },
    'of none': {
      rest: () => [`${SENDS}${NOBODY}/stream-token/`],
      graphql: () => ['createStreamToken', { notificationId: NOBODY }],
    },
  },
  replayNotification: { one: act('replay', 'replayNotification', { reason: 'again' }) },
  replayNotifications: {
    all: {
      rest: ({ code }) => [`${SENDS}replay/`, { filter: { template_code: code }, reason: 'again' }],
      graphql: ({ code }) => [
        'replayNotifications',
        { filter: { templateCode: code }, perSecond: 50, limit: 1_000, reason: 'again' },
      ],
    },
    'of a user that is none': {
      rest: () => [`${SENDS}replay/`, { filter: { user_id: 'x' } }],
      graphql: () => ['replayNotifications', { filter: { userId: 'x' }, perSecond: 50, limit: 1_000 }],
    },
  },
  discardNotification: {
    one: act('discard', 'discardNotification', { reason: 'called' }),
    'without a reason': act('discard', 'discardNotification', { reason: '' }),
  },
  discardNotifications: {
    all: {
      rest: ({ code }) => [`${SENDS}discard/`, { filter: { template_code: code }, reason: 'old' }],
      graphql: ({ code }) => ['discardNotifications', { filter: { templateCode: code }, limit: 1_000, reason: 'old' }],
    },
  },
  reportStatus: {
    delivered: report(
      { status: 'delivered', timestamp: '2026-01-01T00:00:00Z' },
      { status: 'DELIVERED', timestamp: '2026-01-01T00:00:00Z' },
    ),
    failed: report({ status: 'failed', error: 'no mailbox' }, { status: 'FAILED', error: 'no mailbox' }),
    "a worker's": report(
      { status: 'failed', attempt: { token: 1, class: 'permanent' } },
      { status: 'FAILED', attempt: { token: 1, class: 'PERMANENT' } },
    ),
  },
  createUser: {
    one: make(USERS, 'createUser', person),
    'a name of two lines': make(USERS, 'createUser', { ...person, name: 'a\nb' }),
    'a short password and no address': make(USERS, 'createUser', { ...person, email: 'bob', password: 'x' }),
  },
  listUsers: {
    some: read(
      'users',
      () => `${USERS}?search=ada&first=2`,
      () => ({ search: 'ada', first: 2 }),
    ),
    'a page too long': read(
      'users',
      () => `${USERS}?first=999`,
      () => ({ first: 999 }),
    ),
    'a search for nothing': read(
      'users',
      () => `${USERS}?search=`,
      () => ({ search: '', first: 50 }),
    ),
  },
  readUser: {
    one: read(
      'user',
      ({ user_id }) => USERS + user_id,
      ({ user_id }) => ({ id: user_id }),
    ),
  },
  readPreferences: {
    one: read(
      'user',
      ({ user_id }) => `${USERS}${user_id}/preferences`,
      ({ user_id }) => ({ id: user_id }),
    ),
  },
  replaceUser: {
    all: (() => {
      const input = { name: 'Bob', email: 'FRESH@example.com', preferences: { email: false, push: true } };
      return ofUser('updateUser', input, (id) => ({ id, input }));
    })(),
    'nobody there': {
      rest: () => [
        USERS + NOBODY,
        { name: 'Bob', email: 'FRESH@example.com', preferences: { email: false, push: true } },
      ],
      graphql: () => ['updateUser', { id: NOBODY, input: { name: 'Bob' } }],
    },
  },
  updateUser: {
    'a name': ofUser('updateUser', { name: 'Bob' }, (id) => ({ id, input: { name: 'Bob' } })),
    'a device': ofUser('updateUser', { push_token: 'FRESH' }, (id) => ({ id, input: { pushToken: 'FRESH' } })),
    'no device': ofUser('updateUser', { push_token: null }, (id) => ({ id, input: { pushToken: null } })),
    'an empty device': ofUser('updateUser', { push_token: '' }, (id) => ({ id, input: { pushToken: '' } })),
    'an address that is none': ofUser('updateUser', { email: 'x' }, (id) => ({ id, input: { email: 'x' } })),
  },
  deleteUser: {
    one: ofUser('deleteUser', undefined, (id) => ({ id })),
    nobody: { rest: () => [USERS + NOBODY], graphql: () => ['deleteUser', { id: NOBODY }] },
  },
  setPreferences: {
    both: ofUser(
      'setPreferences',
      { email: false, push: false },
      (userId) => ({ userId, preferences: { email: false, push: false } }),
      '/preferences',
    ),
    'of nobody': {
      rest: () => [`${USERS}${NOBODY}/preferences`, { email: true, push: true }],
      graphql: () => ['setPreferences', { userId: NOBODY, preferences: { email: true, push: true } }],
    },
  },
  createTemplate: {
    one: make(TEMPLATES, 'createTemplate', { code: 'shop/FRESH', email, sensitive: true }),
    'nothing to say': make(TEMPLATES, 'createTemplate', { code: 'shop/FRESH' }),
    'a code that is none': make(TEMPLATES, 'createTemplate', { code: 'Shop New', email }),
    'broken Liquid': make(TEMPLATES, 'createTemplate', { code: 'shop/FRESH', email: { ...email, html: '{% if %}' } }),
  },
  listTemplates: {
    some: read(
      'templates',
      () => `${TEMPLATES}?search=story&first=2`,
      () => ({ search: 'story', first: 2 }),
    ),
    'a cursor that is none': read(
      'templates',
      () => `${TEMPLATES}?after=x`,
      () => ({ first: 50, after: 'x' }),
    ),
  },
  readTemplate: {
    one: read(
      'template',
      ({ code }) => TEMPLATES + code,
      ({ code }) => ({ code }),
    ),
  },
  listTemplateVersions: {
    some: read(
      'template',
      ({ code }) => `${TEMPLATES}${code}/versions`,
      ({ code }) => ({ code }),
    ),
  },
  draftTemplateVersion: {
    one: ofTemplate('/versions', 'draftTemplateVersion', { contents: [{ locale: 'de', email }] }, (code) => ({
      input: { code, contents: [{ locale: 'de', email }] },
    })),
    'of none': ofTemplate('x/versions', 'draftTemplateVersion', { contents: [] }, (code) => ({
      input: { code: `${code}x`, contents: [] },
    })),
    'a language that is none': ofTemplate(
      '/versions',
      'draftTemplateVersion',
      { contents: [{ locale: '?', email }] },
      (code) => ({
        input: { code, contents: [{ locale: '?', email }] },
      }),
    ),
  },
  publishTemplate: {
    one: ofTemplate('/publish', 'publishTemplate', { number: 1, reason: 'good' }, (code) => ({
      code,
      number: 1,
      reason: 'good',
    })),
    'a version that is none': ofTemplate('/publish', 'publishTemplate', { number: 9 }, (code) => ({ code, number: 9 })),
  },
  rollBackTemplate: {
    one: ofTemplate('/rollback', 'rollBackTemplate', { reason: 'bad' }, (code) => ({ code, reason: 'bad' })),
    'a version that is none': ofTemplate('/rollback', 'rollBackTemplate', { number: 9 }, (code) => ({
      code,
      number: 9,
    })),
  },
  previewTemplate: {
    one: ofTemplate('/preview', 'previewTemplate', { variables: { name: 'Ada' } }, (code) => ({
      input: { code, variables: { name: 'Ada' } },
    })),
    'a missing variable': ofTemplate('/preview', 'previewTemplate', { variables: {} }, (code) => ({
      input: { code, variables: {} },
    })),
  },
};

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as it came; what it must hold is said here
type Json = any;

const lower = (word: string | null) => word?.toLowerCase() ?? null;
const toNotification = (given: Json) => ({
  notification_id: given.id,
  notification_type: lower(given.notificationType),
  user_id: given.user.id,
  template_code: given.template.code,
  request_id: given.requestId,
  status: lower(given.status),
  reason: given.reason,
  priority: given.priority,
  metadata: given.metadata,
  attempts: given.attempts,
  created_at: given.createdAt,
  updated_at: given.updatedAt,
});
const toUser = ({ pushToken, ...given }: Json) => ({ ...given, push_token: pushToken });
const toPage = (name: string, { edges, pageInfo }: Json, toItem: (node: Json) => Json) => ({
  [name]: edges.map(({ node }: Json) => toItem(node)),
  next: pageInfo.hasNextPage ? pageInfo.endCursor : null,
});

/** What REST shows of what GraphQL tells, of every path that reads. */
const SHOWN: Record<string, (told: Json) => object> = {
  listNotifications: (told) => toPage('notifications', told, toNotification),
  readNotification: toNotification,
  listAttempts: ({ deliveryAttempts }) => ({
    attempts: deliveryAttempts.map((attempt: Json) => ({
      number: attempt.number,
      provider: attempt.provider,
      outcome: lower(attempt.outcome),
      reason: attempt.reason,
      retry_after_seconds: attempt.retryAfterSeconds,
      provider_message_id: attempt.providerMessageId,
      started_at: attempt.startedAt,
      finished_at: attempt.finishedAt,
    })),
  }),
  readStatus: ({ id, status, updatedAt, reason }) => ({
    notification_id: id,
    status: lower(status),
    timestamp: updatedAt,
    error: reason,
  }),
  listUsers: (told) => toPage('users', told, toUser),
  readUser: toUser,
  readPreferences: ({ preferences }) => preferences,
  listTemplates: (told) =>
    toPage('templates', told, ({ code, defaultLocale, currentVersion }) => ({
      code,
      default_locale: defaultLocale,
      version: currentVersion.number,
      published_at: currentVersion.publishedAt,
    })),
  readTemplate: ({ code, currentVersion: { content } }) => {
    const { ttlSeconds, collapseKey, ...push } = content.push;
    return { code, ...content, push: { ...push, ttl_seconds: ttlSeconds, collapse_key: collapseKey } };
  },
  listTemplateVersions: ({ versions }) =>
    toPage('versions', versions, (version) => ({
      number: version.number,
      is_published: version.isPublished,
      based_on: version.basedOn,
      reason: version.reason,
      created_at: version.createdAt,
      created_by: version.createdBy,
      published_at: version.publishedAt,
      published_by: version.publishedBy,
      missing_locales: version.missingLocales,
    })),
};

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
});
afterAll(() => herald?.stop());

test('every operation of the document is walked', () => {
  expect(Object.keys(PAIRS).sort()).toEqual(operations.map(({ operation }) => operation.operationId).sort());
});

async function ask([field, args]: [string, Record<string, unknown>]) {
  const [kind, types, selection] = FIELDS[field] ?? ['query', {}, ''];
  const named = Object.entries(types);
  const query = `${kind} (${named.map(([name, type]) => `$${name}: ${type}`).join(', ')}) {
    ${field}(${named.map(([name]) => `${name}: $${name}`).join(', ')}) ${selection}
  }`;
  const { body } = await herald.rest('POST', '/graphql', { query, variables: freshly(args) });
  const [error] = body.errors ?? [];
  if (error !== undefined) {
    const { code, errors = [] } = error.extensions;
    return {
      status: STATUS_OF[code as RefusalCode] ?? 500,
      faults: errors.map(toSnake).sort(),
      message: error.message,
      told: null,
    };
  }
  // Reports are answered each for itself; what is not there is null.
  const answered: Json = body.data[field];
  const status = Array.isArray(answered) ? answered[0].code : answered === null ? 404 : 200;
  return { status, faults: [], message: '', told: answered };
}

const toSnake = ({ field, code }: { field: string; code: string }) => `${toSnakePath(field)} ${code}`;

async function tell(method: Method, [path, body]: [string, object?]) {
  const answer = await herald.rest(method, `${herald.url}${path}`, body && freshly(body));
  const isRefused = answer.status >= 400;
  return {
    status: isRefused ? answer.status : 200,
    faults: isRefused ? answer.body.errors.map(toSnake).sort() : [],
    detail: isRefused ? answer.body.detail : '',
    shown: answer.body as unknown,
  };
}

/** Nothing is on its way any more. */
async function settled(): Promise<void> {
  await until(async () => {
    const [waiting] = await herald.sql('user', 'SELECT count(*)::integer AS count FROM user_outbox');
    // What is due is published a moment later, and what has happened is numbered.
    const [busy] = await herald.sql(
      'notification',
      `SELECT ((SELECT count(*) FROM feed_in) + (SELECT count(*) FROM outbox WHERE due_at <= now()))::integer AS count`,
    );
    return waiting?.['count'] === 0 && busy?.['count'] === 0;
  });
}

/** What an act has changed, without what differs each time it is done. */
async function changesBy(act: () => Promise<unknown>, subject: Subject): Promise<string[]> {
  await settled();
  const before = await readTables(herald);
  await act();
  await settled();
  const changes: string[] = [];
  for (const [table, rows] of await readTables(herald)) {
    if (table.endsWith('.audit') || table.endsWith('broker_mark')) continue;
    const known = new Set(before.get(table));
    changes.push(...rows.filter((row) => !known.has(row)).map((row) => `${table} ${anonymous(row, subject)}`));
  }
  return changes.sort();
}

function anonymous(row: string, subject: Subject): string {
  const named = Object.entries(subject).filter(([name]) => name !== 'notification_type');
  return named
    .reduce((text, [name, value]) => text.replaceAll(value, `<${name}>`), row)
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '<id>')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)?/g, '<moment>')
    .replace(/"(hash|password_hash|id|seq)": ?("[^"]*"|\d+)/g, '"$1": …');
}

describe.each(Object.entries(PAIRS))('%s', (operationId, pairs) => {
  const found = operations.find(({ operation }) => operation.operationId === operationId);
  test.each(Object.entries(pairs))(
    '%s: the same answer and the same rows as over GraphQL',
    async (_, { rest, graphql }) => {
      const [first, second] = [await givenSubject(herald, operationId), await givenSubject(herald, operationId)];
      await herald.sql('notification', `UPDATE outbox SET due_at = 'infinity'`);
      const told: { status: number; faults: unknown; words: string }[] = [];
      const method = found?.method ?? 'GET';
      const byRest = await changesBy(async () => {
        const { detail: words, shown, ...answer } = await tell(method, rest(first));
        told.push({ ...answer, words });
        if (method === 'GET' && answer.status === 200)
          expect(shown).toEqual(SHOWN[operationId]?.((await ask(graphql(first))).told));
      }, first);
      const byGraphql = await changesBy(async () => {
        const { message: words, status, faults } = await ask(graphql(second));
        told.push({ status, faults, words });
      }, second);
      const [over, under] = told;
      expect(over?.status, `${over?.words} / ${under?.words}`).toBe(under?.status);
      expect(over?.faults).toEqual(under?.faults);
      expect(byRest).toEqual(byGraphql);
      if (method !== 'GET' && operationId !== 'previewTemplate' && operationId !== 'createStreamToken')
        expect(byRest.length > 0, over?.words).toBe(over?.status === 200);
    },
  );
});
