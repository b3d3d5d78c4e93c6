// Sends a mail through the ports that docker-compose.yml publishes, and waits until it is delivered: what CI asks of an image before it is
// published. `ADMIN_API_KEY=… node scripts/smoke.mjs`. It makes a user and a template, so it is for machines that are thrown away.
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';

const DEADLINE_MS = 60_000;
const {
  ADMIN_API_KEY: key,
  GATEWAY_URL: gateway = 'http://127.0.0.1:8000',
  USER_URL: user = 'http://127.0.0.1:8001',
  TEMPLATE_URL: template = 'http://127.0.0.1:8002',
} = process.env;
const since = Date.now();
const code = `smoke-${randomUUID()}`;

await until(`${gateway} is ready`, async () => (await fetch(`${gateway}/ready`)).ok);
const { id } = await post(`${user}/api/v1/users/`, {
  name: 'Ada',
  email: `${code}@example.com`,
  password: randomUUID(),
});
await post(`${template}/api/v1/templates/`, { code, email: { subject: 'Hello', html: '<p>{{ name }}</p>' } });
const { notification_id: sent } = await post(`${gateway}/api/v1/notifications/`, {
  notification_type: 'email',
  user_id: id,
  template_code: code,
  variables: { name: 'Ada' },
  request_id: code,
});
await until(`${sent} is delivered`, async () => {
  const { status } = await ask(`${gateway}/api/v1/notifications/${sent}`);
  if (status === 'failed') throw new Error(`${sent} has failed`);
  return status === 'delivered';
});
console.log(`${sent} is delivered after ${((Date.now() - since) / 1_000).toFixed(1)} s`);

async function until(what, isSo) {
  for (;;) {
    const fault = await isSo().then(
      (yes) => (yes ? null : 'not yet'),
      (error) => error,
    );
    if (fault === null) return;
    if (Date.now() - since > DEADLINE_MS)
      throw new Error(`within ${DEADLINE_MS / 1_000} s not: ${what}`, { cause: fault });
    await wait(250);
  }
}

async function post(url, body) {
  return ask(url, { method: 'POST', body: JSON.stringify(body) });
}

async function ask(url, init = {}) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const response = await fetch(url, { ...init, headers });
  if (!response.ok) throw new Error(`${url} answers ${response.status}: ${await response.text()}`);
  return response.json();
}
