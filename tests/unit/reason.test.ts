import { expect, test } from 'vitest';
import { withoutSecrets } from '../../workers/reason.ts';

const SECRET = 'p"ss w\nrd/ü';
const reasonOf = (reason: string, secrets = [SECRET]) => withoutSecrets({ class: 'unknown', reason }, secrets).reason;

test.each([
  ['as it is', SECRET],
  ['in JSON', JSON.stringify(SECRET).slice(1, -1)],
  ['in a URL', encodeURIComponent(SECRET)],
])('a secret is cut out %s', (_, form) => {
  expect(reasonOf(`500 ${form}, ${form}`)).toBe('500 [secret], [secret]');
});

test('a secret that is a part of another leaves nothing of that', () => {
  expect(reasonOf('500 key-and-more', ['key', 'key-and-more', ''])).toBe('500 [secret]');
});

test('a secret at the end of what is kept is cut out whole', () => {
  const reason = reasonOf('x'.repeat(7_995) + SECRET + 'x'.repeat(100));
  expect(reason).toBe('x'.repeat(7_995) + '[secr');
});

test('an outcome without a reason stays without', () => {
  expect(withoutSecrets({ class: 'accepted' }, [SECRET])).toEqual({ class: 'accepted' });
});
