import { createHmac, generateKeyPairSync, randomUUID, sign as signWith } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '../../client/client.ts';
import {
  CreateApiKeyDocument,
  DeleteUserDocument,
  LogInDocument,
  RevokeApiKeyDocument,
} from '../../client/generated/operations.ts';
import { ADMIN, CLIENT_SCOPES } from '../../contracts/scopes.ts';
import type { KeyRing } from '../../platform/tokens.ts';
import { signRequest } from '../../platform/trust.ts';
import type { Headers, Method } from '../doors.ts';
import { givenUser, sendBody } from '../given.ts';
import { startHerald, type Herald } from '../start.ts';
import { until } from '../until.ts';
import { givenWorld, type World } from './given-world.ts';
import { honestArguments } from './honest-values.ts';
import { fieldsOf, isInaccessible, mutationRoot, nameOf, queryRoot } from './supergraph.ts';
import { readTables } from './table-rows.ts';
import { questionAlong } from './way-query.ts';

const SECRET = 's'.repeat(40);
const jwtKeys: KeyRing = [{ id: 'story', secret: SECRET }];
const parts = ['user', 'template', 'notification', 'gateway'] as const;
const PREFLIGHT = { 'apollo-require-preflight': '1' };

let herald: Herald;
let world: World;
/** A user's, as the log-in gave it. */
let token: string;

async function start() {
  herald = await startHerald({ broker: 'embedded', parts, jwtKeys });
  world = await givenWorld(herald, 'forged');
  token = await logIn(world.email);
  await until(async () => (await herald.sql('notification', 'SELECT FROM feed_in')).length === 0);
  await until(async () => (await herald.sql('notification', 'SELECT FROM outbox WHERE due_at <= now()')).length === 0);
}

const logIn = async (email: string) =>
  (await createClient({ url: herald.url, apiKey: '' }).request(LogInDocument, { email, password: 'correct horse' }))
    .logIn.accessToken;

/** One of each kind, at each port that takes credentials, and a change beside a question. */
const doors = (): [Method, string, unknown?][] => [
  ['POST', '/graphql', { query: '{ me { id } users { edges { node { id } } } }' }],
  ['POST', '/graphql', { query: `mutation { deleteUser(id: "${world.user}") }` }],
  ['GET', `/graphql?query=${encodeURIComponent('{ me { id } }')}`],
  ['GET', '/api/v1/notifications/'],
  ['POST', '/api/v1/notifications/', sendBody(world.user, world.template, { variables: {} })],
  ['POST', '/api/v1/email/status/', { notification_id: world.notification, status: 'delivered' }],
  ['GET', `/api/v1/users/${world.user}`],
  ['DELETE', `/api/v1/users/${world.user}`],
  ['PUT', `/api/v1/users/${world.user}/preferences`, { email: false, push: false }],
  ['GET', `/api/v1/templates/${world.template}`],
  ['POST', '/api/v1/templates/', { code: 'forged/one', email: { subject: 's', html: 'h' } }],
];

/** An answer without what is another each time. */
async function answerAt([method, path, body]: [Method, string, unknown?], headers: Headers) {
  const answer = await herald.rest(method, path, body, { ...PREFLIGHT, ...headers });
  return {
    status: answer.status,
    challenge: answer.headers['www-authenticate'],
    body: JSON.stringify(answer.body).replace(/"request_?[iI]d":"[^"]*"/, ''),
  };
}

/** Expects each door to answer as to somebody who shows nothing, and everything to stay as it was. */
async function expectNothing(headers: Headers): Promise<void> {
  const before = await readTables(herald);
  for (const door of doors()) {
    const nobody = await answerAt(door, { authorization: undefined });
    expect(nobody).toMatchObject({ status: 401, challenge: 'Bearer' });
    expect(await answerAt(door, headers), `${door[0]} ${door[1]}`).toEqual(nobody);
  }
  expect(await readTables(herald)).toEqual(before);
}

const bearer = (credential: string): Headers => ({ authorization: `Bearer ${credential}` });
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const decode = (part = '') => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
const hmac = (text: string, secret: string, hash = 'sha256') =>
  createHmac(hash, secret).update(text).digest('base64url');

/** The parts of the real token, to be changed. */
function taken() {
  const [header = '', payload = '', signature = ''] = token.split('.');
  return { header, payload, signature, claims: decode(payload) };
}

const HEADER = { alg: 'HS256', kid: 'story', typ: 'at+jwt' };

/** A token that says this of itself, and is signed so. */
function forge({ header = {}, claims = {}, secret = SECRET, hash = 'sha256' }: Forged) {
  const signed = `${encode({ ...HEADER, ...header })}.${encode({ ...taken().claims, ...claims })}`;
  return `${signed}.${hmac(signed, secret, hash)}`;
}
type Forged = { header?: object; claims?: object; secret?: string; hash?: string };

const inAnHour = () => Math.floor(Date.now() / 1_000) + 3_600;

/** Signed by a key of the attacker's own, which the token brings along. */
function forgeWithOwnKey(alg: 'RS256' | 'ES256', brings: 'jwk' | 'x5c') {
  const { privateKey, publicKey } =
    alg === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2_048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const der = publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
  const own = brings === 'jwk' ? { jwk: publicKey.export({ format: 'jwk' }) } : { x5c: [der] };
  const signed = `${encode({ ...HEADER, alg, ...own })}.${taken().payload}`;
  const signature = signWith('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}

describe('what was forged opens nothing, and is told what nobody is told', () => {
  beforeAll(start);
  afterAll(() => herald?.stop());

  test('though what it was made from opens what is theirs', async () => {
    const me = (credential: string) => herald.rest('POST', '/graphql', { query: '{ me { id } }' }, bearer(credential));
    expect((await me(token)).body).toEqual({ data: { me: { id: world.user } } });
    expect((await me(forge({}))).body).toEqual({ data: { me: { id: world.user } } });
    expect((await herald.rest('GET', `/api/v1/users/${world.user}`, undefined, bearer(world.key))).status).toBe(200);
  });

  test.each<[string, () => string]>([
    [
      'for somebody else, under the old signature',
      () => {
        const { header, claims, signature } = taken();
        return `${header}.${encode({ ...claims, sub: randomUUID() })}.${signature}`;
      },
    ],
    [
      'for longer, under the old signature',
      () => {
        const { header, claims, signature } = taken();
        return `${header}.${encode({ ...claims, exp: inAnHour() })}.${signature}`;
      },
    ],
    [
      'with another header, under the old signature',
      () => {
        const { payload, signature } = taken();
        return `${encode({ ...HEADER, cty: 'JWT' })}.${payload}.${signature}`;
      },
    ],
    ['without its signature', () => token.slice(0, token.lastIndexOf('.'))],
    ['with an empty signature', () => token.slice(0, token.lastIndexOf('.') + 1)],
    ['with half of its signature', () => token.slice(0, -21)],
    [
      'with another first letter of its signature',
      () => {
        const { header, payload, signature } = taken();
        return `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
      },
    ],
    ['with a fourth part', () => `${token}.e30`],
    ['with padding', () => `${token}=`],
    ['twice in a row', () => token + token],
    ['without its header', () => token.slice(token.indexOf('.'))],
    ['with alg None', () => forge({ header: { alg: 'None' } })],
    ['with alg nOnE and no signature', () => `${encode({ ...HEADER, alg: 'nOnE' })}.${taken().payload}.`],
    ['without alg', () => forge({ header: { alg: undefined } })],
    ['with the right secret and another hash', () => forge({ header: { alg: 'HS512' }, hash: 'sha512' })],
    ['that says RS256 over an HMAC', () => forge({ header: { alg: 'RS256' } })],
    ['that says ES256 over an HMAC', () => forge({ header: { alg: 'ES256' } })],
    ['signed with RSA by a key that it brings', () => forgeWithOwnKey('RS256', 'jwk')],
    ['signed with ECDSA by a key that it brings', () => forgeWithOwnKey('ES256', 'jwk')],
    ['signed with RSA by a certificate that it brings', () => forgeWithOwnKey('RS256', 'x5c')],
    ['signed with the secret of the user service', () => forge({ secret: herald.secrets.user })],
    ['signed with the admin’s key', () => forge({ secret: herald.adminApiKey })],
    ['signed with nothing', () => forge({ secret: '' })],
    ['signed with the key’s name', () => forge({ secret: 'story' })],
    ['of a key in a file', () => forge({ header: { kid: '../../../../dev/null' }, secret: '' })],
    ['of a key from SQL', () => forge({ header: { kid: `x' UNION SELECT 'secret' --` }, secret: 'secret' })],
    [
      'of a key from a URL',
      () => forge({ header: { kid: 'https://example.com/key', jku: 'https://example.com/keys' } }),
    ],
    ['of a key that every object has', () => forge({ header: { kid: '__proto__' }, secret: '' })],
    ['of a key that is a function', () => forge({ header: { kid: 'constructor' }, secret: '' })],
    ['of a key whose name is a list', () => forge({ header: { kid: ['story'] } })],
    ['that must be understood in a new way', () => forge({ header: { crit: ['b64'], b64: false } })],
    ['that is not valid yet', () => forge({ claims: { nbf: inAnHour() } })],
    ['that is not valid any more', () => forge({ claims: { exp: Math.floor(Date.now() / 1_000) - 1 } })],
    ['whose end is a text', () => forge({ claims: { exp: String(inAnHour()) } })],
    ['for nobody', () => forge({ claims: { sub: undefined } })],
    ['for others beside nobody of ours', () => forge({ claims: { aud: ['others', 'Herald'] } })],
    ['by a list of issuers', () => forge({ claims: { iss: ['herald'] } })],
  ])('a token %s', async (_, forged) => {
    await expectNothing(bearer(forged()));
  });

  test.each<[string, () => Headers]>([
    ['with Bearer twice', () => ({ authorization: `Bearer Bearer ${world.key}` })],
    ['twice, with a comma', () => ({ authorization: `Bearer ${world.key}, Bearer ${world.key}` })],
    ['twice, with a space', () => ({ authorization: `Bearer ${world.key} ${world.key}` })],
    ['in quotes', () => ({ authorization: `Bearer "${world.key}"` })],
    ['after another word', () => ({ authorization: `Token ${world.key}` })],
    ['as a name and a password', () => ({ authorization: `Basic ${Buffer.from(`${world.key}:`).toString('base64')}` })],
    ['behind a header that is none', () => ({ authorization: 'Bearer', 'x-api-key': world.key })],
    ['behind a wrong one', () => ({ authorization: 'Bearer hk_wrong', 'x-api-key': world.key })],
    [
      'in a cookie',
      () => ({ authorization: undefined, cookie: `authorization=Bearer ${world.key}; key=${world.key}` }),
    ],
    ['in a proxy’s header', () => ({ authorization: undefined, 'proxy-authorization': `Bearer ${world.key}` })],
  ])('a key %s', async (_, headers) => {
    await expectNothing(headers());
  });

  test.each<[string, () => string | Promise<string>]>([
    ['another’s end behind its beginning', async () => world.key.slice(0, 12) + (await givenKey()).key.slice(12)],
    ['one letter more', () => `${world.key}A`],
    ['its id', () => world.apiKey],
    ['what the database holds of it', () => world.digest],
    [
      'one that was revoked',
      async () => {
        const { key, id } = await givenKey();
        await herald.graphql(RevokeApiKeyDocument, { id });
        return key;
      },
    ],
    [
      'one that has ended',
      async () => {
        const { key, id } = await givenKey();
        await herald.sql('user', `UPDATE api_key SET expires_at = now() - interval '1 second' WHERE id = $1`, [id]);
        return key;
      },
    ],
    ['the workers’, with another last letter', () => changed(herald.workerApiKey, herald.workerApiKey.length - 1)],
    ['the admin’s, with another first letter', () => changed(herald.adminApiKey, 0)],
    ['the admin’s name', () => 'admin'],
    ['a secret between processes', () => herald.secrets.notification],
  ])('instead of a key %s', async (_, credential) => {
    await expectNothing(bearer(await credential()));
  });

  test('a key of which any one letter is another', async () => {
    const door: [Method, string] = ['GET', `/api/v1/users/${world.user}`];
    const nobody = await answerAt(door, { authorization: undefined });
    for (let place = 0; place < world.key.length; place += 1)
      expect(await answerAt(door, bearer(changed(world.key, place))), `letter ${place}`).toEqual(nobody);
  });

  const changed = (text: string, place: number) =>
    text.slice(0, place) + (text[place] === 'a' ? 'b' : 'a') + text.slice(place + 1);

  async function givenKey() {
    const input = { clientId: 'client-other', name: 'other', scopes: [...CLIENT_SCOPES] };
    const { key, apiKey } = (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
    return { key, id: apiKey.id };
  }

  test('of the refresh tokens that were never given all are answered alike', async () => {
    const before = await readTables(herald);
    const refresh = async (refreshToken: string) => {
      const query = 'mutation ($token: String!) { refreshSession(refreshToken: $token) { accessToken } }';
      const door: [Method, string, unknown] = ['POST', '/graphql', { query, variables: { token: refreshToken } }];
      return answerAt(door, { authorization: undefined });
    };
    const unknown = await refresh('x'.repeat(43));
    expect(unknown.body).toContain('UNAUTHENTICATED');
    for (const forged of [token, world.key, '', '0', 'null', 'x'.repeat(5_000), `' OR 1=1 --`, 'a\0b', '\ud800'])
      expect(await refresh(forged), forged.slice(0, 20)).toEqual(unknown);
    expect(await readTables(herald)).toEqual(before);
  });
});

describe('a credential that is good for little', () => {
  beforeAll(start);
  afterAll(() => herald?.stop());

  test('the workers’ key reports at the gateway, and nothing else of the whole graph', async () => {
    const before = await readTables(herald);
    const opened: string[] = [];
    for (const owner of [queryRoot, mutationRoot]) {
      for (const field of fieldsOf(owner).filter((field) => !isInaccessible(field))) {
        const way = [{ owner, field }];
        const question = questionAlong(way, () => honestArguments(way, world), { levels: 2 });
        const { body } = await herald.rest('POST', '/graphql', question, bearer(herald.workerApiKey));
        if (body.errors?.[0].extensions.code !== 'FORBIDDEN') opened.push(nameOf({ owner, field }));
      }
    }
    // What everybody may ask, and the one thing that it is for.
    const open = ['Query.me', 'Mutation.logIn', 'Mutation.refreshSession', 'Mutation.logOut'];
    expect(opened.sort()).toEqual([...open, 'Mutation.reportStatus'].sort());
    expect(await readTables(herald)).toEqual(before);
  });

  test('a token whose user is gone changes nothing and learns nothing', async () => {
    const email = `${randomUUID()}@example.com`;
    const user = await givenUser(herald, { email });
    const theirs = await logIn(email);
    await herald.graphql(DeleteUserDocument, { id: user });
    await until(async () => (await herald.sql('user', 'SELECT FROM user_outbox')).length === 0);
    const before = await readTables(herald);
    const codes: string[] = [];
    for (const mutation of [
      `updateUser(id: "${user}", input: { name: "Eve" }) { id }`,
      `setPreferences(userId: "${user}", preferences: { email: true, push: true }) { id }`,
      `addPushToken(userId: "${user}", token: "device") { id }`,
      `deleteUser(id: "${user}")`,
    ]) {
      const { body } = await herald.rest('POST', '/graphql', { query: `mutation { ${mutation} }` }, bearer(theirs));
      codes.push(body.errors[0].extensions.code);
    }
    expect(codes).toEqual(['NOT_FOUND', 'NOT_FOUND', 'NOT_FOUND', 'NOT_FOUND']);
    expect((await herald.rest('GET', `/api/v1/users/${user}`, undefined, bearer(theirs))).status).toBe(404);
    const query = `{ me { id } user(id: "${user}") { id } notifications { edges { node { id } } } }`;
    expect((await herald.rest('POST', '/graphql', { query }, bearer(theirs))).body.data).toEqual({
      me: null,
      user: null,
      notifications: { edges: [] },
    });
    expect(await readTables(herald)).toEqual(before);
  });

  test.each<[string, (body: string) => Headers]>([
    ['a whole signature of nobody’s secret', (body) => signed(body, 'a secret that nobody has given to anybody')],
    ['a signature meant for a service', (body) => signed(body, herald.secrets.user)],
    ['a context alone', () => ({ 'x-herald-context': encode({ viewer: ADMIN, requestId: 'forged' }) })],
    ['the name of a process', () => ({ 'x-herald-caller': 'notification' })],
    ['the name of the admin', () => ({ 'x-user': 'admin', 'x-user-id': 'admin', 'x-forwarded-user': 'admin' })],
    ['scopes', () => ({ 'x-scopes': 'keys:manage audit:read', 'x-herald-scopes': 'keys:manage audit:read' })],
    [
      'an address of our own',
      () => ({ 'x-forwarded-for': '127.0.0.1', 'x-real-ip': '127.0.0.1', forwarded: 'for=127.0.0.1' }),
    ],
    ['another method', () => ({ 'x-http-method-override': 'DELETE', 'x-method-override': 'DELETE' })],
    ['another path', () => ({ 'x-original-url': '/metrics', 'x-rewrite-url': '/metrics' })],
  ])('with %s in a header it is good for no more', async (_, headersFor) => {
    const questions: [Method, string, unknown?][] = [
      ['POST', '/graphql', { query: '{ me { id } }' }],
      ['POST', '/graphql', { query: '{ apiKeys { edges { node { id } } } }' }],
      [
        'POST',
        '/graphql',
        { query: `mutation { createApiKey(input: { clientId: "eve", name: "eve", scopes: ["users:read"] }) { key } }` },
      ],
      ['POST', '/graphql', { query: '{ auditTrail { users { edges { node { id } } } } }' }],
      ['GET', `/api/v1/users/${world.user}`],
      ['GET', `/api/v1/notifications/${world.notification}`],
    ];
    const before = await readTables(herald);
    for (const question of questions) {
      const plain = await answerAt(question, bearer(token));
      const headers = headersFor(JSON.stringify(question[2] ?? ''));
      expect(await answerAt(question, { ...headers, ...bearer(token) }), question[1]).toEqual(plain);
    }
    expect(await readTables(herald)).toEqual(before);
  });

  const signed = (body: string, secret: string) =>
    signRequest(
      { method: 'POST', path: '/graphql', body },
      { viewer: ADMIN, requestId: 'forged' },
      { caller: 'gateway', callee: 'notification' },
      secret,
    );
});

describe.each(['user', 'template', 'notification'] as const)('at the port of the %s subgraph', (part) => {
  beforeAll(start);
  afterAll(() => herald?.stop());

  const body = JSON.stringify({ query: '{ __typename }' });
  const sign = () => {
    const request = { method: 'POST', path: '/graphql', body };
    return signRequest(
      request,
      { viewer: ADMIN, requestId: 'story' },
      { caller: 'gateway', callee: part },
      herald.secrets[part],
    );
  };
  const ask = async (method: Method, path: string, headers: Headers) =>
    (await herald.rest(method, `${herald.urlOf(part)}${path}`, body, { authorization: undefined, ...headers })).status;

  test.each<[string, number, Method, string, () => Headers]>([
    ['with a slash behind it', 401, 'POST', '/graphql/', () => ({})],
    ['with an encoded letter in its path', 401, 'POST', '/%67raphql', () => ({})],
    ['with a slash before it', 404, 'POST', '//graphql', () => ({})],
    ['in upper case', 404, 'POST', '/GRAPHQL', () => ({})],
    ['by PUT', 404, 'PUT', '/graphql', () => ({})],
    [
      'to a path of REST',
      part === 'notification' ? 404 : 401,
      'POST',
      part === 'template' ? '/api/v1/templates/' : '/api/v1/users/',
      () => ({}),
    ],
    [
      'with two signatures',
      401,
      'POST',
      '/graphql',
      () => ({ 'x-herald-signature': `${sign()['x-herald-signature']}, x` }),
    ],
    ['with its caller spelt otherwise', 401, 'POST', '/graphql', () => ({ 'x-herald-caller': 'Gateway' })],
    ['as text', 415, 'POST', '/graphql', () => ({ 'content-type': 'text/plain' })],
    ['as a form', 415, 'POST', '/graphql', () => ({ 'content-type': 'application/x-www-form-urlencoded' })],
  ])('a request signed for another one is refused: %s', async (_, status, method, path, headers) => {
    expect(await ask('POST', '/graphql', sign())).toBe(200);
    expect(await ask(method, path, { ...sign(), ...headers() })).toBe(status);
  });
});
