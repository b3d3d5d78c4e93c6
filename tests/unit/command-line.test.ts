import { expect, test } from 'vitest';
import { parseCommandLine, UsageError, type Command } from '../../cli/command-line.ts';

const tail: Command<null> = {
  words: ['tail'],
  summary: '',
  takes: '[<id> …]',
  options: { after: { value: 'cursor', help: '' }, user: { value: 'id', help: '' }, wait: { help: '' } },
  run: () => Promise.resolve(0),
};
const read = (...line: string[]) => parseCommandLine([tail], ['tail', ...line]).given;

test.each([
  ['-AbC_', ['--after', '-AbC_']],
  ['--AbC', ['--after', '--AbC']],
  ['-AbC_', ['--after=-AbC_']],
  ['-', ['--after', '-', '--wait']],
  ['AbC', ['--wait', '--after', 'AbC']],
])('the value %s is read from %j', (value, line) => {
  expect(read(...line).text('after')).toBe(value);
});

test.each([[['--after', '--user', 'x']], [['--after', '--user=x']], [['--after', '--wait']], [['--after']]])(
  'an option without its value is told: %j',
  (line) => {
    expect(() => read(...line)).toThrow(UsageError);
    expect(() => read(...line)).toThrow(/--after/);
  },
);

test('behind -- nothing is an option', () => {
  const given = read('--wait', '--', '--after', '-x');
  expect(given.rest).toEqual(['--after', '-x']);
  expect([given.isOn('wait'), given.text('after')]).toEqual([true, undefined]);
});
