import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient as createSseClient } from 'graphql-sse';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald, type HeraldOptions } from './start.ts';
import { until } from './until.ts';
import { EVENT, watch } from './watch.ts';

/** What holds for every operation holds for subscriptions; and what is changed under them they live through. */

const TRUSTED = `subscription Watch($userId: ID!) { notificationStatusChanged(userId: $userId) { ${EVENT} } }`;
const OTHER = `subscription Other($userId: ID!) { notificationStatusChanged(userId: $userId) { cursor } }`;

let folder: string;
let herald: Herald | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'herald-'));
});
afterEach(async () => {
  await herald?.stop();
  herald = undefined;
  await rm(folder, { recursive: true });
});
const start = async (options: HeraldOptions = {}) =>
  (herald = await startHerald({
    broker: 'embedded',
    parts: ['user', 'template', 'notification', 'gateway'],
    ...options,
  }));

const digestOf = (text: string) => createHash('sha256').update(text).digest('hex');

async function startTrusting(document: string): Promise<Herald> {
  const path = join(folder, 'manifest.json');
  const operations = [{ id: digestOf(document), name: 'Watch', type: 'subscription', body: document }];
  await writeFile(path, JSON.stringify({ format: 'apollo-persisted-query-manifest', version: 1, operations }));
  return start({ trustedDocuments: { mode: 'enforce', path } });
}

/** The codes of what a stream of events is told first; empty when it is told an event. */
async function codesOverSse(at: Herald, request: object): Promise<string[]> {
  const client = createSseClient({
    url: `${at.url}/graphql/stream`,
    headers: { authorization: `Bearer ${at.adminApiKey}` },
    retryAttempts: 0,
  });
  try {
    for await (const { errors } of client.iterate(request as never))
      return (errors ?? []).map(({ extensions }) => String(extensions?.['code']));
    return ['nothing'];
  } finally {
    client.dispose();
  }
}

test('where only trusted documents are taken, a subscription must be one, over every transport', async () => {
  const at = await startTrusting(TRUSTED);
  const [user, template] = [await givenUser(at), await givenTemplate(at)];
  const variables = { userId: user };

  const untrusted = watch(at, { query: OTHER, variables });
  expect(await untrusted.ended).toMatchObject([{ extensions: { code: 'UNTRUSTED_DOCUMENT' } }]);
  await untrusted.stop();
  expect(await codesOverSse(at, { query: OTHER, variables })).toEqual(['UNTRUSTED_DOCUMENT']);

  // The protocol of the WebSocket wants a query: an empty one stands for the document that is named.
  const byId = { query: '', extensions: { persistedQuery: { version: 1, sha256Hash: digestOf(TRUSTED) } } };
  for (const request of [{ query: TRUSTED }, byId]) {
    const trusted = watch(at, { ...request, variables });
    const streamed = codesOverSse(at, { ...request, query: request.query || undefined, variables });
    await until(async () => {
      await givenSent(at, user, template);
      return trusted.events.length > 0;
    });
    expect(await streamed).toEqual([]);
    await trusted.stop();
  }
});

test('a subscription that is posted is told where it belongs', async () => {
  const at = await start();
  const query = TRUSTED;
  const { status, body } = await at.rest('POST', '/graphql', { query, variables: { userId: 'x' } });
  expect({ status, errors: body.errors }).toEqual({
    status: 400,
    errors: [
      {
        message: expect.stringMatching(/WebSocket.*\/graphql\/stream/),
        extensions: expect.objectContaining({ code: 'BAD_USER_INPUT' }),
      },
    ],
  });
});

test('a new supergraph is served under a living subscription, which misses and repeats nothing', async () => {
  const path = join(folder, 'supergraph.graphql');
  const own = new URL('../gateway/federation/supergraph.graphql', import.meta.url);
  await copyFile(own, path);
  const at = await start({ supergraph: { path, extraSubgraphs: {} } });
  const [user, template] = [await givenUser(at), await givenTemplate(at)];
  const served = async () => (await at.rest('GET', '/health')).body.supergraph.sha256 as string;
  const [before, watched] = [await served(), watch(at, `(userId: "${user}")`)];
  await until(async () => {
    await givenSent(at, user, template);
    return watched.events.length > 0;
  });

  const sdl = await readFile(own, 'utf8');
  await writeFile(path, sdl.replace('"""Whoever receives notifications."""', '"""Whoever is written to."""'));
  const sent: string[] = [];
  await until(
    async () => {
      sent.push(await givenSent(at, user, template));
      return (await served()) !== before;
    },
    { timeoutMs: 10_000, everyMs: 50 },
  );
  for (let count = 0; count < 3; count += 1) sent.push(await givenSent(at, user, template));

  const seen = () => watched.events.map(({ notification }) => notification.id).filter((id) => sent.includes(id));
  await until(() => seen().length >= sent.length);
  expect(seen()).toEqual(sent);
  expect(watched.errors()).toEqual([]);
  await watched.stop();
});
