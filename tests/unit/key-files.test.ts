import { mkdtempDisposableSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { pemFile, privateKey, serviceAccount } from '../../workers/key-files.ts';

const ACCOUNT = { project_id: 'shop', client_email: 'sender@shop.example', private_key: 'hunter2'.repeat(200) };
const JSON_TEXT = JSON.stringify(ACCOUNT);
const BASE64 = Buffer.from(JSON_TEXT).toString('base64');

const faultsOf = (schema: z.ZodType, value: string) =>
  schema.safeParse(value).error?.issues.map((issue) => issue.message) ?? [];

test('a service account is taken as JSON, as base64 of it, and as a path', () => {
  using folder = mkdtempDisposableSync(join(tmpdir(), 'herald-keys-'));
  const path = join(folder.path, 'account.json');
  writeFileSync(path, JSON_TEXT);
  for (const value of [JSON_TEXT, BASE64, path]) expect(serviceAccount.parse(value)).toEqual(ACCOUNT);
});

test.each(['https://tokens.example/', 'http://127.0.0.1:9/token', undefined])(
  'its token_uri may be %s',
  (token_uri) => {
    expect(faultsOf(serviceAccount, JSON.stringify({ ...ACCOUNT, token_uri }))).toEqual([]);
  },
);

test.each(['http://tokens.example/', 'ftp://tokens.example/', 'tokens'])('its token_uri may not be %s', (token_uri) => {
  expect(faultsOf(serviceAccount, JSON.stringify({ ...ACCOUNT, token_uri }))).toEqual([
    'its token_uri must be an https:// URL, or an http:// URL of this machine',
  ]);
});

test.each([
  ['a base64 that was cut', serviceAccount, BASE64.slice(0, -9), /^must be the key itself, or the path .*\(E\w+\)$/],
  ['a JSON that was cut', serviceAccount, JSON_TEXT.slice(0, -9), /^must be the JSON of a service account/],
  ['a base64 of another JSON', serviceAccount, btoa('{"key":"hunter2"}'), /^must be the JSON of a service account/],
  ['a path with nothing there', serviceAccount, '/hunter2.json', /^must be the key itself, .* file \(ENOENT\)$/],
  ['a key without its armour', privateKey, 'hunter2'.repeat(200), /^must be the key itself, .* \(ENAMETOOLONG\)$/],
  ['a short key', privateKey, 'hunter2', /^must be the key itself, or the path of a readable file \(ENOENT\)$/],
  ['a certificate instead of its path', pemFile, 'hunter2', /^must be the path of a readable file \(ENOENT\)$/],
])('%s is one fault, which does not tell it', (_, schema, value, fault) => {
  const faults = faultsOf(schema, value);
  expect(faults).toEqual([expect.stringMatching(fault)]);
  expect(faults.join()).not.toMatch(/hunter2/);
  expect(faults.join()).not.toContain(value.slice(0, 12));
});
