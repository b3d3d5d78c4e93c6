import { type Logger, pino, type LevelWithSilent } from 'pino';

export type { Logger };

/**
 * Creates a process's logger: JSON lines on stdout. Credentials are redacted by field name, e-mail addresses and what stands before the @ of a
 * URL wherever they are: providers and drivers write them into their words.
 * @param service the `service` field of every line
 * @param destination another place for the lines, for example a pretty printer
 */
export const createLogger = (
  service: string,
  level: LevelWithSilent,
  destination?: { write(line: string): void },
): Logger =>
  pino(
    {
      level,
      base: { service },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED, censor: '[redacted]' },
      serializers: { err: pino.stdSerializers.errWithCause },
      hooks: { streamWrite: (line) => (line.includes('@') ? mask(line) : line) },
    },
    destination ?? pino.destination({ sync: false }),
  );

/** Takes time by the length of the line alone, and leaves JSON as good as it was. */
function mask(line: string): string {
  const text = line.replace(USER_INFO, '://[redacted]@');
  let masked = '';
  let from = 0;
  for (const { index, 0: atDomain, 1: local = '' } of text.matchAll(ADDRESS)) {
    // The domain of one may be taken for the begin of another, as in a@b@c.
    const start = Math.max(from, index - local.length);
    masked += `${text.slice(from, start)}[address]`;
    from = index + atDomain.length;
  }
  return masked + text.slice(from);
}

/** No run without a slash is looked at twice. */
const USER_INFO = /:\/\/[^\s"\\/]*@/g;

/**
 * All that `faultOfEmail` takes, looked for from the @ to both sides, or every letter of a long word would begin one anew. Not before
 * it: a slash (a path such as node_modules/@apollo), and not the rest of an escape (\n, \u001b) without its backslash.
 */
const ADDRESS =
  /(?<=(?<!(?<!\\)(?:\\\\){0,8}\\(?:u[0-9a-f]{0,3})?)([^\s@"(),:;<>[\\\]\p{Cc}]{1,64})(?<!\/))@[^\s@/?#:"'`\\(),;<>[\]{}|]{1,254}/gu;

const REDACTED = [
  'authorization',
  'apiKey',
  'password',
  'secret',
  'headers.authorization',
  'headers["x-api-key"]',
  '*.password',
  '*.authorization',
];
