import type { Client, Document } from '../client/client.ts';
import * as operations from '../client/generated/operations.ts';
import { renderCompletion, SHELLS, UsageError, type Command, type Given, type Option } from './command-line.ts';

/** What a command works with. */
export type Context = {
  client: Client;
  /** Prints one value: as JSON, or as the line that people read. */
  print(value: object, line: string): void;
  /** Prints something that is no value, for people. */
  note(line: string): void;
  /** Prints text as it is. */
  write(text: string): void;
  /** Runs a program of the checkout in this terminal. @returns its exit code */
  runProgram(path: string, args: string[]): Promise<number>;
  signal: AbortSignal;
};

const FILTER: Record<string, Option> = {
  type: { value: 'type', help: 'email or push' },
  reason: { value: 'reason', help: 'why they failed: REJECTED, RETRIES_EXHAUSTED …', many: true },
  user: { value: 'id', help: 'to this user' },
  template: { value: 'code', help: 'from this template' },
  since: { value: 'time', help: 'accepted at or after this, such as 2026-11-27T08:00:00Z' },
  until: { value: 'time', help: 'accepted before this' },
};
const WHY: Option = { value: 'words', help: 'why, for the timeline and whoever reads it later' };

/** Every command of `herald`. */
export const commands: Command<Context>[] = [
  {
    words: ['start'],
    isProgram: true,
    summary: 'runs everything in one process, as npm start does',
    run: (_, { runProgram }) => runProgram('embedded/main.ts', []),
  },
  {
    words: ['doctor'],
    isProgram: true,
    options: { json: { help: 'each check as JSON, one a line' } },
    summary: 'reads the environment, asks everything it names, and says what is wrong and the mend',
    run: (given, { runProgram }) => runProgram('cli/doctor.ts', given.isOn('json') ? ['--json'] : []),
  },
  {
    words: ['migrate'],
    isProgram: true,
    summary: 'brings the databases up to date',
    options: { restored: { help: 'they come from a backup: cursors of before expire' } },
    run: (given, { runProgram }) => runProgram('cli/migrate.ts', given.isOn('restored') ? ['--restored'] : []),
  },
  {
    words: ['send'],
    summary: 'sends a notification, and with --wait waits for its end',
    options: {
      user: { value: 'id', help: 'to whom' },
      template: { value: 'code', help: 'what to say' },
      type: { value: 'type', help: 'email (when left out) or push' },
      var: { value: 'name=value', help: 'a variable of the template', many: true },
      variables: { value: 'json', help: 'all of them at once' },
      'request-id': { value: 'id', help: 'makes it safe to repeat; a new one when left out' },
      priority: { value: 'number', help: '1 to 10, 10 goes first' },
      locale: { value: 'tag', help: 'the language, such as de-AT' },
      'send-at': { value: 'time', help: 'not before this' },
      'expires-at': { value: 'time', help: 'not after this' },
      wait: { help: 'until it is delivered (0) or has failed (1)' },
    },
    run: send,
  },
  {
    words: ['tail'],
    summary: 'shows statuses as they change; lost connections are taken up where they were',
    options: {
      notification: { value: 'id', help: 'of this notification' },
      user: { value: 'id', help: 'of what is sent to this user' },
      request: { value: 'id', help: 'of the send with this request id' },
      after: { value: 'cursor', help: 'go on behind this one' },
      count: { value: 'number', help: 'end after so many' },
    },
    run: tail,
  },
  {
    words: ['failed', 'list'],
    summary: 'lists what has failed, newest first',
    options: { ...FILTER, limit: { value: 'number', help: 'at most so many; 50 when left out' } },
    run: listFailed,
  },
  {
    words: ['failed', 'replay'],
    takes: '[<id> …]',
    summary: 'sends failed notifications again: those named, or all that fit the filter',
    options: {
      ...FILTER,
      'per-second': { value: 'number', help: 'how fast they go out; 50 when left out' },
      limit: { value: 'number', help: 'at most so many by a filter; 1,000 when left out' },
      why: WHY,
    },
    run: replayFailed,
  },
  {
    words: ['failed', 'discard'],
    takes: '[<id> …]',
    summary: 'ends failed notifications for good: those named, or all that fit the filter',
    options: {
      ...FILTER,
      limit: { value: 'number', help: 'at most so many by a filter; 1,000 when left out' },
      why: WHY,
    },
    run: discardFailed,
  },
  {
    words: ['keys', 'create'],
    summary: "makes a client's key, and shows it once",
    options: {
      client: { value: 'id', help: 'whose it is, such as billing-service' },
      name: { value: 'words', help: 'what people call it' },
      scope: { value: 'scope', help: 'what it may do, such as notifications:send', many: true },
      'expires-at': { value: 'time', help: 'when it ends by itself' },
    },
    run: createKey,
  },
  {
    words: ['keys', 'list'],
    summary: 'lists keys, newest first; revoked and expired ones too',
    options: { client: { value: 'id', help: 'of this client only' } },
    run: listKeys,
  },
  {
    words: ['keys', 'revoke'],
    takes: '<id or prefix>',
    summary: 'ends a key: within 5 seconds it opens nothing',
    run: async ({ rest: [id, ...others] }, { client, print }) => {
      if (id === undefined || others.length > 0) throw new UsageError('keys revoke takes one id or prefix');
      const { revokeApiKey } = await client.request(operations.RevokeApiKeyDocument, { id });
      print(revokeApiKey, `${revokeApiKey.prefix} of ${revokeApiKey.clientId} is revoked`);
      return 0;
    },
  },
  {
    words: ['completion'],
    takes: '<bash, zsh or fish>',
    summary: 'prints completions: source <(herald completion bash)',
    run: async ({ rest: [name] }, { write }) => {
      const shell = SHELLS.find((known) => known === name);
      if (shell === undefined) throw new UsageError(`completion takes one of ${SHELLS.join(', ')}`);
      write(renderCompletion(commands, shell));
      return 0;
    },
  },
];

async function send(given: Given, context: Context): Promise<number> {
  const { client, print } = context;
  const input = {
    notificationType: typeOf(given.text('type') ?? 'email'),
    userId: given.required('user'),
    templateCode: given.required('template'),
    requestId: given.text('request-id') ?? crypto.randomUUID(),
    variables: variablesOf(given),
    ...defined({
      priority: given.number('priority'),
      locale: given.text('locale'),
      sendAt: given.text('send-at'),
      expiresAt: given.text('expires-at'),
    }),
  };
  const { sendNotification } = await client.request(operations.SendNotificationDocument, { input });
  const { notification, duplicate } = sendNotification;
  const again = duplicate ? ', which had been accepted before' : '';
  print({ ...notification, duplicate }, `${notification.id} is ${notification.status}${again}`);
  if (!given.isOn('wait')) return 0;
  const events = client.subscribe(
    operations.WatchNotificationDocument,
    { notificationId: notification.id },
    { signal: context.signal, onDisconnected: tellLoss(context) },
  );
  for await (const { notificationStatusChanged: event } of events) {
    show(event, context);
    if (event.status !== 'PENDING') return event.status === 'DELIVERED' ? 0 : 1;
  }
  return 1;
}

async function tail(given: Given, context: Context): Promise<number> {
  const after = defined({ after: given.text('after') });
  const [notificationId, userId, requestId] = [given.text('notification'), given.text('user'), given.text('request')];
  if ([notificationId, userId, requestId].filter((one) => one !== undefined).length > 1)
    throw new UsageError('tail takes one of --notification, --user and --request');
  const most = given.number('count') ?? Infinity;
  let cursor = after.after;
  let count = 0;
  const follow = async <Variables extends object>(document: Document<Changed, Variables>, variables: Variables) => {
    const options = { signal: context.signal, onDisconnected: tellLoss(context) };
    for await (const { notificationStatusChanged: event } of context.client.subscribe(document, variables, options)) {
      cursor = event.cursor;
      show(event, context);
      count += 1;
      if (count >= most) return;
    }
  };
  if (notificationId !== undefined) await follow(operations.WatchNotificationDocument, { notificationId, ...after });
  else if (requestId !== undefined) await follow(operations.WatchRequestDocument, { requestId, ...after });
  else await follow(operations.WatchUserDocument, { ...defined({ userId }), ...after });
  if (cursor !== undefined) context.note(`go on with --after ${cursor}`);
  return 0;
}

async function listFailed(given: Given, { client, print, note }: Context): Promise<number> {
  const most = given.number('limit') ?? 50;
  const filter = { ...filterOf(given), status: 'FAILED' as const };
  let shown = 0;
  let after: string | null | undefined;
  do {
    const first = Math.min(200, most - shown);
    const { notifications } = await client.request(operations.NotificationsDocument, {
      filter,
      first,
      ...(after != null && { after }),
    });
    for (const { node } of notifications.edges) {
      const { id, notificationType, reason, createdAt, requestId, deliveryAttempts } = node;
      const words = deliveryAttempts.at(-1)?.reason ?? 'never handed over';
      print(node, `${createdAt}  ${id}  ${notificationType.padEnd(5)}  ${reason}  request ${requestId}: ${words}`);
      shown += 1;
    }
    after = notifications.pageInfo.hasNextPage ? notifications.pageInfo.endCursor : null;
  } while (after != null && shown < most);
  note(shown === 0 ? 'nothing has failed' : `${shown} shown${after == null ? '' : ', there are more (--limit)'}`);
  return 0;
}

async function replayFailed(given: Given, { client, print }: Context): Promise<number> {
  const reason = defined({ reason: given.text('why') });
  requireChoice(given);
  for (const id of given.rest) {
    const { replayNotification } = await client.request(operations.ReplayNotificationDocument, { id, ...reason });
    print(replayNotification, `${id} is ${replayNotification.status} again`);
  }
  if (given.rest.length > 0) return 0;
  const { replayNotifications } = await client.request(operations.ReplayNotificationsDocument, {
    filter: filterOf(given),
    perSecond: given.number('per-second') ?? 50,
    limit: given.number('limit') ?? 1_000,
    ...reason,
  });
  const { replayed, refused, hasMore, lastDueAt } = replayNotifications;
  const until = lastDueAt == null ? '' : `, the last of them at ${lastDueAt}`;
  const others = refused.length > 0 ? `; ${refused.length} can't be sent again` : '';
  print(
    replayNotifications,
    `${replayed} are PENDING again${until}${others}${hasMore ? '; there are more: again' : ''}`,
  );
  return 0;
}

async function discardFailed(given: Given, { client, print }: Context): Promise<number> {
  const reason = given.required('why');
  requireChoice(given);
  for (const id of given.rest) {
    const { discardNotification } = await client.request(operations.DiscardNotificationDocument, { id, reason });
    print(discardNotification, `${id} is discarded`);
  }
  if (given.rest.length > 0) return 0;
  const { discardNotifications } = await client.request(operations.DiscardNotificationsDocument, {
    filter: filterOf(given),
    limit: given.number('limit') ?? 1_000,
    reason,
  });
  const { discarded, hasMore } = discardNotifications;
  print(discardNotifications, `${discarded} are discarded${hasMore ? '; there are more: again' : ''}`);
  return 0;
}

async function createKey(given: Given, { client, print, note }: Context): Promise<number> {
  const scopes = given.texts('scope').flatMap((text) => text.split(','));
  if (scopes.length === 0) throw new UsageError('--scope is missing, such as --scope notifications:send');
  const { createApiKey } = await client.request(operations.CreateApiKeyDocument, {
    input: {
      clientId: given.required('client'),
      name: given.required('name'),
      scopes,
      ...defined({ expiresAt: given.text('expires-at') }),
    },
  });
  note('this is the only sight of the key:');
  print({ ...createApiKey.apiKey, key: createApiKey.key }, createApiKey.key);
  return 0;
}

async function listKeys(given: Given, { client, print }: Context): Promise<number> {
  const clientId = defined({ clientId: given.text('client') });
  let after: string | null | undefined;
  do {
    const { apiKeys } = await client.request(operations.ApiKeysDocument, {
      first: 200,
      ...clientId,
      ...(after != null && { after }),
    });
    for (const { node } of apiKeys.edges) {
      const state = node.revokedAt ? `revoked ${node.revokedAt}` : node.expiresAt ? `until ${node.expiresAt}` : 'valid';
      print(
        node,
        `${node.prefix}  ${node.clientId}  ${node.name}  ${node.scopes.join(',')}  ${state}, last used ${node.lastUsedAt ?? 'never'}`,
      );
    }
    after = apiKeys.pageInfo.hasNextPage ? apiKeys.pageInfo.endCursor : null;
  } while (after != null);
  return 0;
}

type Changed = operations.WatchUserSubscription;

function show(
  { at, status, reason, attempt, cursor, notification }: Changed['notificationStatusChanged'],
  { print }: Context,
) {
  const why = reason == null ? '' : `  ${reason}`;
  print(
    { id: notification.id, status, reason, attempt, at, cursor },
    `${at}  ${notification.id}  ${status}${why}  attempts ${attempt}`,
  );
}

const tellLoss =
  ({ note }: Context) =>
  ({ retryInMs }: { retryInMs: number }) =>
    note(`the connection is lost; tried again in ${(retryInMs / 1_000).toFixed(1)} s`);

/** Nothing named and nothing filtered would be everything: that must be meant. */
function requireChoice(given: Given): void {
  const isFiltered = Object.keys(filterOf(given)).length > 0;
  if (given.rest.length > 0 && isFiltered) throw new UsageError('name ids, or filter: not both');
  if (given.rest.length === 0 && !isFiltered)
    throw new UsageError('name ids, or filter by --reason, --type, --user, --template, --since or --until');
}

function filterOf(given: Given): operations.NotificationFilter {
  const [type, reasons] = [given.text('type'), given.texts('reason')];
  return {
    ...(type !== undefined && { notificationType: typeOf(type) }),
    ...(reasons.length > 0 && { reasons: reasons.map((reason) => reason.toUpperCase() as operations.FailureReason) }),
    ...defined({
      userId: given.text('user'),
      templateCode: given.text('template'),
      since: given.text('since'),
      until: given.text('until'),
    }),
  };
}

function typeOf(text: string): operations.NotificationType {
  const type = (['EMAIL', 'PUSH'] as const).find((known) => known === text.toUpperCase());
  if (type === undefined) throw new UsageError(`--type must be email or push, not ${text}`);
  return type;
}

function variablesOf(given: Given): Record<string, unknown> {
  const whole = given.text('variables') ?? '{}';
  let variables: unknown;
  try {
    variables = JSON.parse(whole);
  } catch {
    variables = null;
  }
  if (typeof variables !== 'object' || variables === null || Array.isArray(variables))
    throw new UsageError(`--variables must be a JSON object, not ${whole}`);
  const pairs = given.texts('var').map((pair) => {
    const at = pair.indexOf('=');
    if (at < 1) throw new UsageError(`--var must be name=value, not ${pair}`);
    return [pair.slice(0, at), pair.slice(at + 1)] as const;
  });
  return { ...variables, ...Object.fromEntries(pairs) };
}

/** Without what is undefined. */
const defined = <Value>(fields: Record<string, Value | undefined>): Record<string, Value> =>
  Object.fromEntries(Object.entries(fields).filter((entry): entry is [string, Value] => entry[1] !== undefined));
