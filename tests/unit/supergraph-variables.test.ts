import { expect, test } from 'vitest';
import { supergraphVariables, toSupergraph } from '../../contracts/supergraph.ts';
import { parseEnv } from '../../platform/env.ts';

const read = (env: Record<string, string>) => toSupergraph(parseEnv(supergraphVariables, env));

test('without the variables it is our own graph', () => {
  expect(read({})).toEqual({ path: null, extraSubgraphs: {} });
});

test('several subgraphs have their address and their secret', () => {
  const one = 'shop=http://:0123456789abcdef@127.0.0.1:4100';
  const two = 'cms-2=https://:a.secret-of_16~chars@cms.example/herald/';
  expect(read({ EXTRA_SUBGRAPHS: `${one}, ${two}` }).extraSubgraphs).toEqual({
    shop: { url: 'http://127.0.0.1:4100', secret: '0123456789abcdef' },
    'cms-2': { url: 'https://cms.example/herald', secret: 'a.secret-of_16~chars' },
  });
});

test.each([
  'shop',
  'http://:0123456789abcdef@127.0.0.1:4100',
  'shop=http://127.0.0.1:4100',
  'shop=http://:short@127.0.0.1:4100',
  'shop=http://:0123456789%40bcdef@127.0.0.1:4100',
  'shop=ftp://:0123456789abcdef@127.0.0.1',
  'user=http://:0123456789abcdef@127.0.0.1:4100',
  'shop=http://:0123456789abcdef@127.0.0.1:4100,cms',
  'shop=http://:0123456789abcdef@127.0.0.1:4100,shop=http://:0123456789abcdef@127.0.0.1:4200',
])('EXTRA_SUBGRAPHS=%s is refused by its name', (text) => {
  expect(() => read({ EXTRA_SUBGRAPHS: text })).toThrow(/^EXTRA_SUBGRAPHS is wrong: must be name=http/);
});

test('a supergraph that is not there is said at once', () => {
  expect(() => read({ SUPERGRAPH_PATH: '/no/such/file' })).toThrow('SUPERGRAPH_PATH is wrong: must name a file');
});
