import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { Herald } from './herald.ts';
import type { Seeded } from './seeded.ts';

/** What one run sends, and to what answers it led. */
export type Sending = {
  /** By notification id. */
  accepted: Map<string, { requestId: string; onAmbiguous: 'resend' | 'fail' }>;
  /** What no caller should get, whatever is broken: a second id for one request_id. */
  complaints: string[];
  /** How often "later" came, by its HTTP status; 0 is no answer. */
  refusals: Map<number, number>;
  /** Resolves when so many are accepted. */
  reached(count: number): Promise<void>;
  /** Rejects when one is refused or, for a minute, not accepted. */
  done: Promise<void>;
};

/** Whom to write to, and what. */
export type Given = { users: [string, ...string[]]; template: string };

const REQUEST_TIMEOUT_MS = 4_000;
const MAX_IN_FLIGHT = 50;
/** Longer than any fault lasts: after it, a send that no one takes is told instead of tried for ever. */
const GIVE_UP_MS = 60_000;
/** A fifth must rather not arrive than arrive twice. */
const SHARE_OF_FAIL = 0.2;
const SHARE_OF_PUSH = 0.2;
/** So many are sent twice at the same moment. */
const SHARE_OF_DOUBLE = 0.05;

/**
 * Sends over REST at a steady rate. A request that is not answered, or answered with "later", is repeated with its request_id
 * until it is accepted, so that at the end everything is.
 */
export function startSending(
  herald: Herald,
  {
    run,
    count,
    perSecond,
    given,
    seeded,
  }: { run: string; count: number; perSecond: number; given: Given; seeded: Seeded },
): Sending {
  const dispatcher = new Agent({ connections: MAX_IN_FLIGHT * 2 });
  const accepted: Sending['accepted'] = new Map();
  const complaints: string[] = [];
  const refusals: Sending['refusals'] = new Map();
  const waiting = new Set<{ count: number; resolve: () => void }>();
  const inFlight = new Set<Promise<void>>();

  const untilAccepted = async (body: { request_id: string; on_ambiguous: 'resend' | 'fail' }): Promise<string> => {
    const giveUpAt = performance.now() + GIVE_UP_MS;
    for (;;) {
      const answer = await post(herald, dispatcher, body);
      if (answer.status === 202) return answer.id;
      refusals.set(answer.status, (refusals.get(answer.status) ?? 0) + 1);
      if (answer.status !== 0 && answer.status < 500) throw new Error(`${body.request_id} was answered ${answer.text}`);
      if (performance.now() > giveUpAt) {
        throw new Error(`${body.request_id} was not accepted within ${GIVE_UP_MS / 1_000} s; lastly: ${answer.text}`);
      }
      await wait(100 + Math.random() * 300);
    }
  };
  const sendOne = async (index: number) => {
    const body = {
      notification_type: seeded.next() < SHARE_OF_PUSH ? 'push' : 'email',
      user_id: seeded.pick(given.users),
      template_code: given.template,
      variables: { name: 'Ada' },
      request_id: `${run}-${index}`,
      priority: 1 + Math.floor(seeded.next() * 10),
      on_ambiguous: seeded.next() < SHARE_OF_FAIL ? ('fail' as const) : ('resend' as const),
    };
    const isDouble = seeded.next() < SHARE_OF_DOUBLE;
    const [id, ...others] = await Promise.all([untilAccepted(body), ...(isDouble ? [untilAccepted(body)] : [])]);
    if (others.some((other) => other !== id))
      complaints.push(`${body.request_id} was accepted twice, as ${id} and ${others[0]}`);
    accepted.set(id, { requestId: body.request_id, onAmbiguous: body.on_ambiguous });
    for (const waiter of waiting) if (accepted.size >= waiter.count) waiter.resolve();
  };

  const done = (async () => {
    const since = performance.now();
    for (let index = 0; index < count; index += 1) {
      const early = since + (index * 1_000) / perSecond - performance.now();
      if (early > 0) await wait(early);
      while (inFlight.size >= MAX_IN_FLIGHT) await Promise.race(inFlight);
      const one = sendOne(index).finally(() => inFlight.delete(one));
      one.catch(() => {});
      inFlight.add(one);
    }
    await Promise.all(inFlight);
  })().finally(() => dispatcher.destroy());

  return {
    accepted,
    complaints,
    refusals,
    done,
    async reached(wanted) {
      if (accepted.size >= wanted) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.add({ count: wanted, resolve });
      await promise;
    },
  };
}

/** Status 0 is no answer. */
async function post(
  { urlOf, adminKey }: Herald,
  dispatcher: Agent,
  body: object,
): Promise<{ status: number; id: string; text: string }> {
  try {
    const response = await request(`${urlOf('gateway')}/api/v1/notifications/`, {
      method: 'POST',
      dispatcher,
      headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const text = await response.body.text();
    const id = response.statusCode === 202 ? String(JSON.parse(text).notification_id) : '';
    return { status: response.statusCode, id, text: `${response.statusCode} ${text.slice(0, 300)}` };
  } catch (error) {
    return { status: 0, id: '', text: `no answer: ${(error as Error).message}` };
  }
}

/** Makes a few users and a template. */
export async function prepare(herald: Herald): Promise<Given> {
  const make = async (service: 'user' | 'template', path: string, body: object): Promise<Record<string, unknown>> => {
    const response = await fetch(herald.urlOf(service) + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${herald.adminKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (response.status !== 201) throw new Error(`${path} answered ${response.status} ${await response.text()}`);
    return (await response.json()) as Record<string, unknown>;
  };
  const makeUser = async (index: number) => {
    const user = {
      name: 'Ada',
      email: `ada-${index}@example.com`,
      push_token: `device-${index}`,
      password: 'correct horse',
    };
    return String((await make('user', '/api/v1/users/', user))['id']);
  };
  const email = { subject: 'Hello {{ name }}', text: 'Hello {{ name }}', html: '<p>Hello {{ name }}</p>' };
  const push = { title: 'Hello {{ name }}', body: 'A message' };
  const { code } = await make('template', '/api/v1/templates/', { code: 'faults/hello', email, push });
  const first = await makeUser(0);
  const others = await Promise.all(Array.from({ length: 19 }, (_, index) => makeUser(index + 1)));
  return { users: [first, ...others], template: String(code) };
}
