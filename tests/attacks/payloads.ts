/** What a cursor says once it is read: its kind, then where the page before ended. */
const CURSOR_KINDS = ['user', 'api-key', 'audit', 'template', 'version', 'publication', 'notification', 'suppression'];

const forgeCursor = (text: string) => Buffer.from(text).toString('base64url');

/** Text that means something to somebody behind the door. None of it is the name of anything that stories begin with. */
export const textPayloads: Record<string, string> = {
  'a statement': `'; DROP TABLE notification; --`,
  'a statement in quotes': `"; DROP TABLE "user"; --`,
  'a statement in dollars': `$$; TRUNCATE template CASCADE; --`,
  'what is always true': `' OR 1=1 --`,
  'the same in brackets': `') OR ('1'='1`,
  'the same of an id': `00000000-0000-4000-8000-000000000000' OR true --`,
  'another answer': `' UNION SELECT usename FROM pg_user --`,
  'a pause': `'||pg_sleep(30)||'`,
  'a comment': '/**/',
  'a quote': `'`,
  'two quotes': `''`,
  'a double quote': '"',
  'a backslash': '\\',
  'a backslash and a quote': `\\' OR 1=1 --`,
  'anything, to LIKE': '%',
  'any letter, to LIKE': '_',
  'many of both': '%_%_%',
  'an escape, to LIKE': '\\%',
  'anything, to a regular expression': '.*',
  'a regular expression without end': '(a+)+$',
  'a parameter': '$1',
  'a list': '{a,b}',
  'a list of all quotes': '{"\'\\"","}',
  'a record': '(1,2)',
  'no value': 'NULL',
  'a default': 'DEFAULT',
  'an operator': '{"$gt": ""}',
  'a prototype': '__proto__',
  'a NUL': 'a\u0000b',
  'half a surrogate pair': 'a\ud800',
  'a line of its own': 'a\u2028b',
  'a look from the right': '\u202eevil',
  'a full-width quote': '\uff07 OR 1=1 --',
  'a very long one': 'x'.repeat(10_000),
  ...Object.fromEntries(
    CURSOR_KINDS.map((kind) => [`a cursor of a ${kind} that ends in SQL`, forgeCursor(`${kind}:' OR 1=1 --`)]),
  ),
  'a cursor with an id and SQL': forgeCursor(`notification:ffffffff-ffff-7fff-bfff-ffffffffffff' OR true --`),
  'a cursor of a NUL': forgeCursor('user:\0'),
};

/** What is no text where text is expected; an id in a list reads as one when it is taken for text. */
export const otherPayloads: Record<string, unknown> = {
  'an operator as an object': { $gt: '' },
  'a list in a list': [["' OR 1=1 --"]],
  'a list of an id': ['00000000-0000-4000-8000-000000000000'],
  'a number': 1e21,
};
