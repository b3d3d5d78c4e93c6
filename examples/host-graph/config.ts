/** The environment; what is left out fits the two commands in README.md, on one machine. */
export const readConfig = (env: Record<string, string | undefined> = process.env) => ({
  port: Number(env['HOST_GRAPH_PORT'] ?? 4100),
  /** What Herald's gateway signs its requests with. */
  secret: env['HOST_GRAPH_SECRET'] ?? 'host-graph-secret',
  heraldUrl: env['HERALD_URL'] ?? 'http://127.0.0.1:8000',
  /** A key of Herald's that may create users. */
  apiKey: env['HERALD_API_KEY'] ?? 'host-graph-admin-key',
});

export type HostConfig = ReturnType<typeof readConfig>;
