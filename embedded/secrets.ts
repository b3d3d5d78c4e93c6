import { randomBytes } from 'node:crypto';
import { access, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

const secretsSchema = z.object({
  adminApiKey: z.string(),
  workerApiKey: z.string(),
  userSecret: z.string(),
  templateSecret: z.string(),
  notificationSecret: z.string(),
  jwtSecret: z.string(),
  postgresPassword: z.string(),
});

export type Secrets = z.infer<typeof secretsSchema>;

/** Reads the installation's secrets from the data folder (mode 0600); the first time they are made. */
export async function readSecrets(dataDir: string): Promise<Secrets> {
  const file = join(dataDir, 'secrets.json');
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new Error(`${file} can't be read: ${error.message}`, { cause: error });
  });
  if (text !== null) return parseSecrets(file, text);
  const hasDatabase = await access(join(dataDir, 'postgres', 'PG_VERSION')).then(
    () => true,
    () => false,
  );
  if (hasDatabase) {
    throw new Error(
      `${file} is gone, but the database that its password opens is there: restore it, or remove the whole data folder to begin anew`,
    );
  }

  const secrets: Secrets = {
    adminApiKey: `hk_${makeSecret()}`,
    workerApiKey: `hw_${makeSecret()}`,
    userSecret: makeSecret(),
    templateSecret: makeSecret(),
    notificationSecret: makeSecret(),
    jwtSecret: makeSecret(),
    postgresPassword: makeSecret(),
  };
  // Renamed when whole: a start that is killed here leaves no half a file behind.
  await rm(`${file}.new`, { force: true });
  await writeFile(`${file}.new`, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
  await rename(`${file}.new`, file);
  return secrets;
}

function parseSecrets(file: string, text: string): Secrets {
  try {
    return secretsSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new Error(`${file} is damaged: restore it, or remove the whole data folder to begin anew`, { cause: error });
  }
}

function makeSecret(): string {
  return randomBytes(24).toString('base64url');
}
