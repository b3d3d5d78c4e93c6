import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { parse } from 'yaml';
import { z } from 'zod';

const serviceSchema = z.object({
  image: z.string(),
  build: z.string().optional(),
  command: z.array(z.string()).optional(),
  profiles: z.array(z.string()).optional(),
  restart: z.string(),
  read_only: z.boolean().optional(),
  environment: z.record(z.string(), z.union([z.null(), z.coerce.string()])).default({}),
  env_file: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  expose: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  healthcheck: z.object({ test: z.array(z.string()) }).optional(),
  configs: z.array(z.object({ source: z.string(), target: z.string() })).default([]),
  labels: z.record(z.string(), z.string()).default({}),
});
const fileSchema = z.object({
  services: z.record(z.string(), serviceSchema),
  configs: z.record(z.string(), z.object({ content: z.string() })),
});
export type ComposeService = z.infer<typeof serviceSchema> & { environment: Record<string, string> };

export const read = (file: string): string => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');

/** The variables of an env file. */
export const readEnv = (file: string): Record<string, string> =>
  Object.fromEntries(Object.entries(parseEnv(read(file))).map(([name, value = '']) => [name, value]));

/** docker-compose.yml as `docker compose` reads it with these variables. @throws Error with the message of one that is missing */
export function readCompose(variables: Record<string, string>): {
  raw: unknown;
  services: Record<string, ComposeService>;
  configs: Record<string, { content: string }>;
} {
  // The reviver comes to every text of the file.
  const raw: unknown = parse(
    read('docker-compose.yml'),
    (name, value: unknown) => {
      if (typeof value !== 'string') return value;
      const text = interpolate(value, variables);
      return name === 'scale' ? Number(text) : text;
    },
    { merge: true },
  );
  const { services, configs } = fileSchema.parse(raw);
  // A variable without a value is passed on as it is, or not at all.
  const told = (environment: Record<string, string | null>) =>
    Object.fromEntries(
      Object.entries(environment).flatMap(([name, value]) => {
        const given = value ?? variables[name];
        return given === undefined ? [] : [[name, given]];
      }),
    );
  return {
    raw,
    configs,
    services: Object.fromEntries(
      Object.entries(services).map(([name, service]) => [name, { ...service, environment: told(service.environment) }]),
    ),
  };
}

/** `${NAME}`, `${NAME:-default}` and `${NAME:?message}`, and `$$` for a dollar; the file uses no others. */
const interpolate = (text: string, variables: Record<string, string>): string =>
  text.replace(/\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})/g, (all, name: string, kind: string | undefined, rest = '') => {
    if (all === '$$') return '$';
    const value = variables[name] ?? '';
    if (value !== '') return value;
    if (kind === '-') return String(rest);
    throw new Error(`${name}: ${String(rest)}`);
  });
