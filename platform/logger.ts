import { type Logger, pino, type LevelWithSilent } from 'pino';

export type { Logger };

/**
 * Creates a process's logger: JSON lines on stdout. Credentials are redacted by field name, e-mail addresses (and what stands before the @ of a
 * URL) wherever they are: providers and drivers write them into their words.
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
      hooks: { streamWrite: (line) => (line.includes('@') ? line.replace(ADDRESS, '[address]') : line) },
    },
    destination ?? pino.destination({ sync: false }),
  );

/** As it may stand in JSON, of which it leaves quotes and backslashes alone. */
const ADDRESS = /[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(\.[\w-]+)+/g;

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
