import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readFile } from 'node:fs/promises';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { PARTS, type Part } from './herald-parts.ts';
import { brokerKinds, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';
import { watch } from './watch.ts';

type Sample = { name: string; labels: string; value: number };

const samplesOf = (text: string): Sample[] =>
  [...text.matchAll(/^([a-z_]\w*)(?:\{([^}]*)\})? (\S+)$/gm)].map(([, name = '', labels = '', value]) => ({
    name,
    labels,
    value: Number(value),
  }));

/** What one e-mail must move, at whom: a name and what its labels hold. */
const MOVED: [Part, string, ...string[]][] = [
  [
    'gateway',
    'http_request_duration_seconds_count',
    'service="gateway"',
    'route="/api/v1/notifications/"',
    'status="202"',
  ],
  ['gateway', 'http_request_duration_seconds_count', 'route="/graphql"', 'status="200"'],
  ['gateway', 'http_request_duration_seconds_count', 'route="none"', 'status="404"'],
  ['gateway', 'herald_graphql_duration_seconds_count', 'operation="mutation sendNotification"', 'outcome="ok"'],
  ['gateway', 'herald_graphql_duration_seconds_count', 'operation="query user"', 'outcome="ok"'],
  ['gateway', 'herald_graphql_duration_seconds_count', 'operation="invalid"', 'outcome="GRAPHQL_VALIDATION_FAILED"'],
  ['gateway', 'herald_graphql_duration_seconds_count', 'operation="mutation reportStatus"', 'outcome="ok"'],
  ['gateway', 'herald_feed_events_total'],
  ['gateway', 'herald_subscription_executions_total'],
  ['user', 'http_request_duration_seconds_count', 'service="user"', 'route="/graphql"'],
  ['user', 'herald_graphql_duration_seconds_count', 'operation="query user"'],
  ['template', 'herald_graphql_duration_seconds_count', 'outcome="ok"'],
  ['notification', 'herald_accepted_total', 'type="email"'],
  ['notification', 'herald_published_total', 'key="email"'],
  ['notification', 'herald_outcomes_total', 'provider="smtp"', 'class="accepted"', 'status="delivered"'],
  ['notification', 'herald_stage_seconds_count', 'stage="publish"', 'type="email"'],
  ['notification', 'herald_stage_seconds_count', 'stage="whole"', 'type="email"'],
  ['notification', 'herald_feed_head'],
  ['email', 'herald_handled_total', 'type="email"', 'provider="smtp"', 'class="accepted"'],
  ['email', 'herald_stage_seconds_count', 'stage="claim"', 'type="email"'],
  ['email', 'herald_stage_seconds_count', 'stage="send"', 'type="email"'],
  ['email', 'herald_stage_seconds_count', 'stage="status"', 'type="email"'],
];

/** What is there whatever is sent. */
const THERE: [Part, ...string[]][] = [
  ['notification', 'herald_queue_messages', 'herald_outbox_rows', 'herald_outbox_oldest_due_seconds'],
  ['notification', 'herald_pending_notifications', 'herald_feed_unnumbered_rows', 'herald_swept_total'],
  [
    'gateway',
    'herald_subscribers',
    'herald_subscription_sockets',
    'herald_feed_lag_events',
    'herald_subgraph_circuit_open',
  ],
  ['email', 'herald_circuit_state'],
  ['push', 'herald_circuit_state'],
];

describe.each(brokerKinds)('with %s', (broker) => {
  let herald: Herald;
  beforeAll(async () => {
    herald = await startHerald({ broker });
  });
  afterAll(() => herald?.stop());

  const read = async (part: Part) =>
    samplesOf(String((await herald.rest('GET', `${herald.urlOf(part)}/metrics`)).body));
  const valueOf = (samples: Sample[], name: string, labels: string[]) =>
    samples
      .filter((sample) => sample.name === name && labels.every((label) => sample.labels.includes(label)))
      .reduce((sum, { value }) => sum + value, 0);
  const values = async () => {
    const all = Object.fromEntries(await Promise.all(PARTS.map(async (part) => [part, await read(part)] as const)));
    return MOVED.map(([part, name, ...labels]) => valueOf(all[part] ?? [], name, labels));
  };

  test('one send moves every metric of its way', async () => {
    const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
    const watched = watch(herald, `(userId: "${user}")`);
    await until(async () => valueOf(await read('gateway'), 'herald_subscribers', []) === 1);
    const before = await values();

    expect((await herald.rest('POST', '/api/v1/notifications/', sendBody(user, template))).status).toBe(202);
    await herald.rest('POST', '/graphql', { query: `{ user(id: "${user}") { name } }` });
    await herald.rest('POST', '/graphql', { query: '{ nothing }' });
    await herald.rest('GET', `${herald.url}/nothing`);
    await until(() => watched.events.some(({ status }) => status === 'DELIVERED'));

    const still = await until(async () => {
      const after = await values();
      const unmoved = MOVED.filter((_, place) => !((after[place] ?? 0) > (before[place] ?? 0)));
      return unmoved.length === 0 ? 'all moved' : false;
    }).catch(async () => {
      const after = await values();
      return MOVED.filter((_, place) => !((after[place] ?? 0) > (before[place] ?? 0)));
    });
    expect(still).toBe('all moved');
    await watched.stop();
  });

  test('a stream of events is no slow request, and one that is refused is measured', async () => {
    const url = `${herald.url}/graphql/stream?${new URLSearchParams({ query: '{ __typename }' }).toString()}`;
    const stream = await fetch(url, { headers: { authorization: `Bearer ${herald.adminApiKey}` } });
    expect(stream.headers.get('content-type')).toContain('text/event-stream');
    expect(await stream.text()).toContain('event: complete');
    expect((await fetch(url)).status).toBe(401);
    const measured = async () =>
      (await read('gateway')).filter(
        ({ name, labels }) =>
          name === 'http_request_duration_seconds_count' && labels.includes('route="/graphql/stream"'),
      );
    await until(async () => (await measured()).length > 0);
    expect((await measured()).map(({ labels }) => /status="(\d+)"/.exec(labels)?.[1])).toEqual(['401']);
  });

  test('every process shows what waits, which circuits are open, and how late its event loop is', async () => {
    for (const [part, ...names] of [
      ...THERE,
      ...PARTS.map((part): [Part, string] => [part, 'herald_event_loop_lag_seconds']),
    ]) {
      const text = String((await herald.rest('GET', `${herald.urlOf(part)}/metrics`)).body);
      for (const name of names) expect(text, `${part} ${name}`).toContain(`# TYPE ${name} `);
    }
    for (const reason of ['not_a_job', 'unknown_id'])
      expect(
        (await read('push')).filter(({ name, labels }) => name === 'herald_poison_total' && labels.includes(reason)),
        reason,
      ).toEqual([expect.objectContaining({ labels: expect.stringContaining('type="push"'), value: 0 })]);
    await wait(100);
    for (const until = performance.now() + 400; performance.now() < until;);
    await wait(100);
    const lags = (await read('gateway')).filter(({ name }) => name === 'herald_event_loop_lag_seconds');
    const at = (quantile: string) => lags.find(({ labels }) => labels.includes(`quantile="${quantile}"`))?.value;
    expect(at('1')).toBeGreaterThan(0.3);
    expect(at('0.5')).toBeLessThan(0.3);
    const depths = (await read('notification')).filter(({ name }) => name === 'herald_queue_messages');
    expect(depths.map(({ labels }) => /queue="(\w+)"/.exec(labels)?.[1]).sort()).toEqual(['email', 'failed', 'push']);
  });

  test('the dashboard and the alerts ask for what there is', async () => {
    const texts = await Promise.all(
      PARTS.map(async (part) => String((await herald.rest('GET', `${herald.urlOf(part)}/metrics`)).body)),
    );
    const there = new Set(texts.flatMap((text) => [...text.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name)));
    for (const file of ['prometheus/alerts.yml', 'grafana/herald.json']) {
      const text = await readFile(new URL(`../deploy/${file}`, import.meta.url), 'utf8');
      const asked = new Set(
        [...text.matchAll(/\b((?:herald|http_request|process)_[a-z_]+?)(?:_bucket|_count|_sum)?\b(?=[{[ ),]|$)/gm)].map(
          ([, name]) => name,
        ),
      );
      expect(asked.size, file).toBeGreaterThan(8);
      expect(
        [...asked].filter((name) => !there.has(name)),
        file,
      ).toEqual([]);
    }
  });
});
