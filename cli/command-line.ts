import { parseArgs } from 'node:util';

/** One command of `herald`, by words: `keys create`. Options are told in kebab-case and given in camelCase. */
export type Command<Context> = {
  words: string[];
  summary: string;
  /** What stands behind the words: `<id…>`, for the help. */
  takes?: string;
  options?: Record<string, Option>;
  /** Asks no gateway: it takes none of what the others do. */
  isProgram?: boolean;
  run(given: Given, context: Context): Promise<number>;
};

export type Option = {
  /** What its value is, in the help; a switch has none. */
  value?: string;
  /** May be given several times. */
  many?: boolean;
  help: string;
};

export type Given = {
  rest: string[];
  /** The value of an option that is given once. */
  text(name: string): string | undefined;
  /** @throws UsageError */
  required(name: string): string;
  texts(name: string): string[];
  number(name: string): number | undefined;
  isOn(name: string): boolean;
};

/** The command line is not as it should be: told with the help, and 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** What every command takes that asks the gateway. */
export const COMMON: Record<string, Option> = {
  url: { value: 'url', help: 'the gateway; HERALD_URL, else http://127.0.0.1:8000' },
  key: { value: 'key', help: "HERALD_API_KEY, else that of this checkout's npm start" },
  json: { help: 'answers as JSON, one value a line' },
};

/** Finds the command and reads its options. @throws UsageError */
export function parseCommandLine<Context>(
  commands: readonly Command<Context>[],
  line: readonly string[],
): { command: Command<Context>; given: Given } {
  const command = commands
    .filter(({ words }) => words.every((word, place) => line[place] === word))
    .toSorted((a, b) => b.words.length - a.words.length)[0];
  if (command === undefined) {
    const group = commands.filter(({ words }) => words.length > 1 && words[0] === line[0]);
    throw new UsageError(
      group.length > 0
        ? `${line[0]} takes one of ${group.map(({ words }) => words[1]).join(', ')}`
        : `there is no command ${line[0] ?? ''}`,
    );
  }
  const options = allOptions(command);
  const config = Object.fromEntries(
    Object.entries(options).map(([name, { value, many = false }]) => [
      name,
      { type: value === undefined ? ('boolean' as const) : ('string' as const), multiple: many },
    ]),
  );
  try {
    const { values, positionals } = parseArgs({
      args: withValues(line.slice(command.words.length), options),
      options: config,
      allowPositionals: true,
    });
    if (positionals.length > 0 && command.takes === undefined)
      throw new UsageError(`${command.words.join(' ')} takes nothing behind it: ${positionals.join(' ')}`);
    return { command, given: toGiven(values, positionals) };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

const allOptions = <Context>({ options = {}, isProgram = false }: Command<Context>): Record<string, Option> => ({
  ...options,
  ...(!isProgram && COMMON),
});

/** A value may begin with a dash, as one cursor in 64 does: the next option is another option, and anything else the value. */
function withValues(words: string[], options: Record<string, Option>): string[] {
  const isOption = (word: string) => word.startsWith('--') && Object.hasOwn(options, word.slice(2).split('=')[0] ?? '');
  const args: string[] = [];
  for (let place = 0; place < words.length; place += 1) {
    const [word = '', next] = [words[place], words[place + 1]];
    if (word === '--') return [...args, ...words.slice(place)];
    const takesValue = isOption(word) && options[word.slice(2)]?.value !== undefined;
    if (takesValue && next?.startsWith('-') === true && !isOption(next)) {
      args.push(`${word}=${next}`);
      place += 1;
    } else args.push(word);
  }
  return args;
}

function toGiven(values: Record<string, unknown>, rest: string[]): Given {
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined);
  return {
    rest,
    text,
    required(name) {
      const value = text(name);
      if (value === undefined || value === '') throw new UsageError(`--${name} is missing`);
      return value;
    },
    texts: (name) => (Array.isArray(values[name]) ? values[name].map(String) : []),
    number(name) {
      const value = text(name);
      if (value === undefined) return undefined;
      if (!/^\d+$/.test(value)) throw new UsageError(`--${name} must be a whole number, not ${value}`);
      return Number(value);
    },
    isOn: (name) => values[name] === true,
  };
}

/** All commands, or what one takes. */
export function renderHelp<Context>(commands: readonly Command<Context>[], command?: Command<Context>): string {
  if (command === undefined) {
    const rows = commands.map(({ words, summary }) => [`herald ${words.join(' ')}`, summary] as const);
    return [
      'usage: herald <command> [options]',
      '',
      ...toTable(rows),
      '',
      'herald <command> --help tells its options. Every command that asks the gateway takes:',
      ...renderOptions(COMMON),
      '',
      'It exits with 0: done; 1: refused, or failed; 2: wrongly called; 3: nobody there; 130: ended by Ctrl-C.',
      '',
    ].join('\n');
  }
  const { words, takes, summary } = command;
  const options = allOptions(command);
  const usage = [
    'herald',
    ...words,
    ...(Object.keys(options).length > 0 ? ['[options]'] : []),
    ...(takes === undefined ? [] : [takes]),
  ].join(' ');
  return [`usage: ${usage}`, summary, '', ...renderOptions(options), ''].join('\n');
}

const renderOptions = (options: Record<string, Option>): string[] =>
  toTable(
    Object.entries(options).map(
      ([name, { value, many, help }]) =>
        [`--${name}${value === undefined ? '' : ` <${value}>`}${many ? ' …' : ''}`, help] as const,
    ),
  );

function toTable(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A shell's completions: words first, then options. */
export function renderCompletion<Context>(commands: readonly Command<Context>[], shell: Shell): string {
  const firsts = [...new Set(commands.map(({ words }) => words[0] ?? ''))];
  const seconds = (first: string) =>
    commands.flatMap(({ words }) => (words[0] === first && words[1] ? [words[1]] : []));
  const optionsOf = (command: Command<Context>) => Object.keys(allOptions(command)).map((name) => `--${name}`);
  switch (shell) {
    case 'bash':
    case 'zsh':
      return [
        ...(shell === 'zsh' ? ['autoload -U +X bashcompinit && bashcompinit'] : []),
        '_herald() {',
        '  local word="${COMP_WORDS[COMP_CWORD]}" line="${COMP_WORDS[*]:1:COMP_CWORD-1}"',
        '  case "$line" in',
        ...commands
          .toSorted((a, b) => b.words.length - a.words.length)
          .map(
            (command) =>
              `    "${command.words.join(' ')}"*) COMPREPLY=($(compgen -W "${optionsOf(command).join(' ')}" -- "$word")) ;;`,
          ),
        ...firsts
          .filter((first) => seconds(first).length > 0)
          .map((first) => `    "${first}") COMPREPLY=($(compgen -W "${seconds(first).join(' ')}" -- "$word")) ;;`),
        `    "") COMPREPLY=($(compgen -W "${firsts.join(' ')}" -- "$word")) ;;`,
        '  esac',
        '}',
        'complete -F _herald herald',
        '',
      ].join('\n');
    case 'fish':
      return [
        'complete -c herald -f',
        ...firsts.map((first) => `complete -c herald -n __fish_use_subcommand -a ${first}`),
        ...firsts.flatMap((first) =>
          seconds(first).map((second) => `complete -c herald -n '__fish_seen_subcommand_from ${first}' -a ${second}`),
        ),
        ...commands.flatMap((command) =>
          optionsOf(command).map(
            (option) =>
              `complete -c herald -n '__fish_seen_subcommand_from ${command.words.at(-1)}' -l ${option.slice(2)}`,
          ),
        ),
        '',
      ].join('\n');
  }
}
