import { type Logger, pino, type LevelWithSilent } from 'pino';

export type { Logger };

/**
 * Creates a process's logger: JSON lines on stdout. Credentials are redacted by field name.
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
    },
    destination ?? pino.destination({ sync: false }),
  );

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
