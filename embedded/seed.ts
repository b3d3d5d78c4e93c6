import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** What the printed commands send to. */
export type Demo = { userId: string; email: string; templateCode: string };

const EMAIL = 'ada@example.com';
const TEMPLATE = 'welcome';

/** Makes the demo user and the welcome template over the services' own REST paths; later starts find them again. */
export async function seed({
  dataDir,
  userUrl,
  templateUrl,
  apiKey,
}: {
  dataDir: string;
  userUrl: string;
  templateUrl: string;
  apiKey: string;
}): Promise<Demo> {
  const file = join(dataDir, 'demo.json');
  const post = createPoster(apiKey);
  await post(`${templateUrl}/api/v1/templates/`, WELCOME);

  const kept = await readKept(file);
  if (kept !== null && (await exists(`${userUrl}/api/v1/users/${kept.userId}`, apiKey)))
    return { ...kept, templateCode: TEMPLATE };

  const create = async (email: string) => {
    const user = await post(`${userUrl}/api/v1/users/`, {
      name: 'Ada Lovelace',
      email,
      push_token: 'demo-device',
      preferences: { email: true, push: true },
      password: randomBytes(18).toString('base64url'),
    });
    return user && { userId: String(user['id']), email };
  };
  // She may be there without a note of her id: a start that was killed in between, or a lost file.
  const created = (await create(EMAIL)) ?? (await create(EMAIL.replace('@', `.${randomBytes(4).toString('hex')}@`)));
  if (created === null) throw new Error('the demo user could not be created; try again');
  await writeFile(`${file}.new`, `${JSON.stringify(created)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
  return { ...created, templateCode: TEMPLATE };
}

const keptSchema = z.object({ userId: z.string(), email: z.string() });

/** @returns null when there is no such file, or one that says nothing */
async function readKept(file: string): Promise<z.infer<typeof keptSchema> | null> {
  try {
    return keptSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return null;
  }
}

/** Posts JSON. @returns the body of the answer, or null when it is there already (409) */
const createPoster = (apiKey: string) => async (url: string, body: object) => {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` },
    body: JSON.stringify(body),
  });
  if (response.status === 409) return null;
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as Record<string, unknown>;
};

const exists = async (url: string, apiKey: string) =>
  (await fetch(url, { headers: { authorization: `Bearer ${apiKey}` } })).ok;

const WELCOME = {
  code: TEMPLATE,
  locale: 'en',
  email: {
    subject: 'Welcome, {{ name }}',
    html: `<h1>Hello {{ name }}!</h1>
<p>This mail took the whole way: gateway, notification service, PostgreSQL, broker, worker, SMTP.</p>
{% if link %}<p><a href="{{ link }}">Have a look around</a></p>{% endif %}`,
    text: 'Hello {{ name }}!\n\nThis mail took the whole way: gateway, notification service, PostgreSQL, broker, worker, SMTP.{% if link %}\n\nHave a look around: {{ link }}{% endif %}\n',
  },
  push: { title: 'Welcome, {{ name }}', body: 'Herald is running.', link: '{{ link | default: "" }}' },
};
