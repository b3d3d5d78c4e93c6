import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectAsGateway } from './as-gateway.ts';
import { withChannel } from './amqp.ts';
import { GATEWAY_SERVICE } from '../contracts/scopes.ts';
import { begin, claim, giveBack } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

/** The sweeper looks every 5 s, and at leases after one of them. */
const LEASE_SECONDS = 2;
const SWEPT = { timeoutMs: 15_000, everyMs: 50 };

describe.skipIf(!hasServices)('the metrics of the notification service', { timeout: 40_000 }, () => {
  let herald: Herald;
  let user: string;
  let template: string;
  beforeAll(async () => {
    herald = await startHerald({
      parts: ['user', 'template', 'notification', 'gateway'],
      leaseSeconds: LEASE_SECONDS,
      retry: { baseSeconds: 1_000, capSeconds: 1_000, giveUpSeconds: 10_000 },
    });
    user = await givenUser(herald);
    template = await givenTemplate(herald);
  });
  afterAll(() => herald?.stop());

  const sql = (text: string, ...values: unknown[]) => herald.sql('notification', text, values);
  const givenPending = (fields: object = {}) => givenSent(herald, user, template, fields);
  const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString();
  /** The value of all samples that have these labels together; 0 when there is none yet. */
  async function read(sample: string): Promise<number> {
    const { body } = await herald.rest('GET', `${herald.urlOf('notification')}/metrics`);
    const [name, labels = ''] = sample.split('{');
    return String(body)
      .split('\n')
      .filter(
        (one) => one.startsWith(`${name}{`) && labels.split(',').every((label) => one.includes(label.replace('}', ''))),
      )
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }
  /** How much each sample rises until what is done has shown. */
  async function rise(samples: string[], act: () => Promise<unknown>): Promise<number[]> {
    const before = await Promise.all(samples.map(read));
    await act();
    const risen = async () => (await Promise.all(samples.map(read))).map((value, i) => value - (before[i] ?? 0));
    return until(async () => {
      const values = await risen();
      return values.every((value) => value > 0) && values;
    }, SWEPT);
  }
  const report = (id: string, token: number, outcome: string, status = 'pending') =>
    herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status, attempt: { token, class: outcome } });
  const failed = (reason: string, outcome = 'none', provider = 'none') =>
    `herald_outcomes_total{type="email",provider="${provider}",class="${outcome}",status="failed",reason="${reason}"}`;
  async function tellBounce(notificationId: string): Promise<void> {
    const client = connectAsGateway(herald);
    const told = { provider: 'sendgrid', eventId: notificationId, kind: 'BOUNCED', isPermanent: true };
    const events = [{ ...told, notificationId, isAddressDead: true, at: new Date().toISOString() }];
    const query = 'mutation ($events: [FeedbackEventInput!]!) { recordFeedback(events: $events) }';
    const { errors } = await client.graphql(
      { query, variables: { events } },
      { viewer: GATEWAY_SERVICE, requestId: 'bounce' },
    );
    await client.stop();
    expect(errors).toBeUndefined();
  }
  const keep = (id: string, token: number, outcome: string) =>
    herald.sql('worker', 'SELECT id FROM keep_outcomes($1)', [
      JSON.stringify([{ notification_id: id, token, class: outcome }]),
    ]);

  test.each<[string, string[], () => Promise<unknown>]>([
    [
      'an outcome that a worker kept',
      [
        'herald_swept_total{case="kept"}',
        'herald_outcomes_total{type="email",provider="smtp",class="accepted",status="delivered",reason="none"}',
      ],
      async () => {
        const id = await givenPending();
        await keep(id, await begin(herald, id, 1), 'accepted');
      },
    ],
    [
      'an unknown outcome that a worker kept',
      ['herald_swept_total{case="unknown"}', 'herald_outcomes_total{type="email",class="unknown",status="pending"}'],
      async () => {
        const id = await givenPending();
        await keep(id, await begin(herald, id, 1), 'unknown');
      },
    ],
    [
      'a worker that was gone with an open attempt',
      ['herald_swept_total{case="unknown"}', failed('OUTCOME_UNKNOWN', 'unknown', 'smtp')],
      async () => begin(herald, await givenPending({ on_ambiguous: 'fail' }), 1),
    ],
    [
      'a claim that came to nothing',
      ['herald_swept_total{case="given_back"}'],
      async () => claim(herald, await givenPending(), 1),
    ],
    [
      'a notification that kills its workers',
      ['herald_swept_total{case="given_up"}', failed('RETRIES_EXHAUSTED')],
      async () => {
        const id = await givenPending();
        await sql('UPDATE notification SET claims = 9 WHERE id = $1', id);
        await claim(herald, id, 1);
      },
    ],
    [
      'a deadline that passed',
      ['herald_swept_total{case="expired"}', failed('EXPIRED')],
      async () => sql('UPDATE notification SET expires_at = now() WHERE id = $1', await givenPending()),
    ],
    [
      'what a provider refuses',
      [failed('REJECTED', 'permanent', 'smtp')],
      async () => {
        const id = await givenPending();
        await report(id, await begin(herald, id), 'permanent', 'failed');
      },
    ],
    [
      'what somebody cancels',
      [failed('CANCELLED')],
      async () => herald.rest('POST', `/api/v1/notifications/${await givenPending()}/cancel`, {}),
    ],
    [
      'what is pending for a user who is deleted',
      [failed('CANCELLED')],
      async () => {
        const leaving = await givenUser(herald);
        await givenSent(herald, leaving, template, { send_at: inAnHour() });
        await herald.rest('DELETE', `/api/v1/users/${leaving}`);
      },
    ],
    [
      'what bounces',
      ['herald_feedback_total{provider="sendgrid",kind="bounced"}', failed('BOUNCED', 'none', 'sendgrid')],
      async () => {
        const id = await givenPending();
        await report(id, await begin(herald, id), 'accepted', 'delivered');
        await tellBounce(id);
      },
    ],
    [
      'a report that came too late',
      ['herald_stale_reports_total{type="email",class="transient"}'],
      async () => {
        const id = await givenPending();
        await begin(herald, id);
        await giveBack(herald, id);
        await begin(herald, id);
        await report(id, 1, 'transient');
      },
    ],
    [
      'a delivery that was told late',
      ['herald_late_delivered_total{type="email"}'],
      async () => {
        const id = await givenPending();
        await begin(herald, id);
        await giveBack(herald, id);
        await begin(herald, id);
        await report(id, 1, 'accepted', 'delivered');
      },
    ],
    [
      'what waits to be published, and what has not ended',
      ['herald_outbox_rows', 'herald_pending_notifications'],
      async () => givenPending({ send_at: inAnHour() }),
    ],
  ])('count %s', async (_, samples, act) => {
    const risen = await rise(samples, act);
    expect(risen.every((value) => value >= 1)).toBe(true);
  });

  test('have what alerts ask for from the start, at 0', async () => {
    const { url, stop } = await herald.addInstance('notification');
    const text = String((await herald.rest('GET', `${url}/metrics`)).body);
    await stop();
    const zeros = [
      'herald_accepted_total{type="push",service="notification"} 0',
      'herald_published_total{key="push",service="notification"} 0',
      'herald_swept_total{case="given_up",service="notification"} 0',
      'herald_broker_wipes_total{service="notification"} 0',
      'herald_outcomes_total{type="push",provider="fcm",class="unknown",status="pending",reason="none",service="notification"} 0',
      'herald_outcomes_total{type="email",provider="smtp",class="accepted",status="delivered",reason="none",service="notification"} 0',
      'herald_outcomes_total{type="email",provider="none",class="none",status="failed",reason="EXPIRED",service="notification"} 0',
    ];
    for (const zero of zeros) expect(text.split('\n')).toContain(zero);
  });

  test('count jobs that no queue takes, and show for how long they wait', async () => {
    const { direct, queues } = herald.names;
    await withChannel(herald.amqpUrl, (channel) => channel.unbindQueue(queues.email, direct, 'email'));
    const id = await givenPending();
    await until(async () => (await read('herald_unpublished_total{key="email",case="unroutable"}')) > 0);
    // Put off until it is due again; then it goes.
    await sql(`UPDATE outbox SET due_at = now() - interval '1 minute' WHERE notification_id = $1`, id);
    await until(async () => (await read('herald_outbox_oldest_due_seconds')) >= 60);
    await withChannel(herald.amqpUrl, (channel) => channel.bindQueue(queues.email, direct, 'email'));
    await until(async () => (await readNotification(herald, id)).timeline.includes('QUEUED'), SWEPT);
    await until(async () => (await read('herald_outbox_oldest_due_seconds')) === 0);
  });

  test('count a broker that lost its data, also when nothing was in it', async () => {
    await sql(`UPDATE notification SET status = 'failed', reason = 'CANCELLED' WHERE status = 'pending'`);
    const [mark] = await sql('SELECT mark FROM broker_mark');
    await herald.stopPart('notification');
    await withChannel(herald.amqpUrl, (channel) => channel.deleteQueue(herald.names.markQueue(mark?.['mark'])));
    await herald.startPart('notification');
    await until(async () => (await read('herald_broker_wipes_total')) === 1, SWEPT);
    expect(await read('herald_requeued_total{case="wiped"}')).toBe(0);
  });
});
