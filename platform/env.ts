import { isIP } from 'node:net';
import { z } from 'zod';

/** The variable TRUSTED_PROXIES: addresses, or ranges of them, parted by commas. */
export const trustedProxies = z
  .string()
  .default('')
  .transform((text) => text.split(',').flatMap((part) => part.trim() || []))
  .refine(
    (parts) =>
      parts.every((part) => {
        const [address = '', bits, ...rest] = part.split('/');
        const family = isIP(address);
        const isRange = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
        return family !== 0 && isRange && rest.length === 0;
      }),
    'must be addresses or ranges such as 10.0.0.1, 10.0.0.0/8; several parted by commas',
  );

export type Env = Record<string, string | undefined>;

/** A configuration that can't work. `faults` holds one line per variable: its name, what is wrong, the mend. */
export class ConfigError extends Error {
  override name = 'ConfigError';
  readonly code = 'CONFIG';
  readonly faults: string[];
  constructor(faults: string[]) {
    super(faults.join('\n'));
    this.faults = faults;
  }
}

/**
 * Parses the environment by a zod object keyed by variable name. An empty string counts as not set.
 * @throws ConfigError that names every faulty variable at once
 */
export function parseEnv<Shape extends z.ZodRawShape>(shape: Shape, env: Env): z.infer<z.ZodObject<Shape>> {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = z.object(shape).safeParse(given);
  if (parsed.success) return parsed.data;
  throw new ConfigError(
    parsed.error.issues.map((issue) => {
      const name = issue.path.join('.');
      return given[name] === undefined
        ? `${name} is not set: ${describe(shape, name)}`
        : `${name} is wrong: ${issue.message}`;
    }),
  );
}

const describe = (shape: z.ZodRawShape, name: string): string => {
  const field = shape[name];
  return (field instanceof z.ZodType ? field.description : undefined) ?? 'it is required';
};

/** A TCP port. */
export const port = (fallback: number) =>
  z.coerce
    .number('must be a port number, 0 to 65535')
    .int('must be a whole number')
    .min(0)
    .max(65535)
    .default(fallback);

/** A whole number between bounds, with a default. */
export const count = (fallback: number, { min = 1, max = Number.MAX_SAFE_INTEGER } = {}) =>
  z.coerce
    .number('must be a number')
    .int('must be a whole number')
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`)
    .default(fallback);

/** A URL with one of the given schemes, for example `url('postgresql', 'postgres')`. */
export const url = (...schemes: string[]) =>
  z.string().refine((text) => URL.canParse(text) && schemes.includes(new URL(text).protocol.replace(':', '')), {
    message: `must be a URL that starts with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}`,
  });

/** The base URL of a provider, another than its own: https, or a server on this machine. Keys are sent there. */
export const providerUrl = z
  .string()
  .refine(
    (text) =>
      URL.canParse(text) &&
      (new URL(text).protocol === 'https:' ||
        (new URL(text).protocol === 'http:' && isLoopback(new URL(text).hostname))),
    'must be an https:// URL, or an http:// URL of this machine',
  )
  .optional();

/** Whether a host of a URL is this machine: nobody listens on the way there. */
export const isLoopback = (hostname: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);

/** The base URL of another service, without its trailing slash. */
export const serviceUrl = (fallback: string) =>
  url('http', 'https')
    .default(fallback)
    .transform((text) => text.replace(/\/+$/, ''));

/** A shared secret of at least 16 characters, such as a header can carry. */
export const secret = (what: string) =>
  z
    .string()
    .min(16, 'must have at least 16 characters')
    .regex(/^[!-~]*$/, 'must be printable ASCII without spaces')
    .describe(what);

/** One such secret, or several parted by commas, the newest first: see secret-ring.ts. */
export const secretRing = (what: string) =>
  z
    .string()
    .regex(/^[!-~]*$/, 'must be printable ASCII without spaces')
    .refine(
      (text) => text.split(',').every((one) => one.length >= 16),
      'must have at least 16 characters; several parted by commas, the newest first',
    )
    .describe(what);

/** A key that a provider gave out, for a header: what copying put around it is dropped. */
export const apiKey = (what: string) =>
  z
    .string()
    .trim()
    .regex(/^[!-~]+$/, 'must be printable ASCII without spaces')
    .describe(what);

export const logLevel = z
  .enum(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'must be trace, debug, info, warn, error, fatal or silent',
  )
  .default('info');
