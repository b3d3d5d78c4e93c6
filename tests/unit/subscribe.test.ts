import { expect, test } from 'vitest';
import type { StatusEvent } from '../../contracts/events.ts';
import { createExecutions } from '../../gateway/subscriptions/executions.ts';
import type { Selection } from '../../gateway/subscriptions/engine.ts';
import { subscribe } from '../../gateway/subscriptions/subscribe.ts';
import type { FeedHub } from '../../gateway/subscriptions/feed-hub.ts';
import { createCursors } from '../../platform/feed-cursor.ts';
import type { SignedContext } from '../../platform/trust.ts';

const EPOCH = '0197f3a0-0000-7000-8000-000000000000';
const cursors = createCursors('0123456789abcdef');

/** A subscriber of everything, of whom each event is executed when `execute` says. */
async function given(execute: (seq: number) => Promise<void>) {
  let happen: (event: StatusEvent) => void = () => {};
  const hub: Pick<FeedHub, 'follow' | 'ready'> = {
    ready: async () => null,
    follow(_topic, { onEvent }) {
      happen = onEvent;
      return { place: { epoch: EPOCH, seq: 0 }, stop: () => {} };
    },
  };
  const engine = {
    async execute(_selection: Selection, { seq }: StatusEvent) {
      await execute(seq);
      return { data: { seq } };
    },
  };
  const show = () => ({ message: '' });
  const executions = createExecutions(engine, { timeoutMs: 1_000, show });
  const ends: { kind: string; seq: number | undefined }[] = [];
  const context = {
    viewer: { kind: 'admin', id: 'admin', scopes: ['notifications:read'] },
  } as unknown as SignedContext;
  const subscription = await subscribe(
    { hub, reader: {} as never, cursors, executions, show },
    { topic: {}, selection: { key: 'a' } as Selection },
    context,
    ({ kind }, cursor) => ends.push({ kind, seq: cursors.parseCursor(cursor)?.seq }),
  );
  if (!('next' in subscription)) throw new Error('refused');
  return {
    subscription,
    ends,
    happen: (seq: number) => happen({ seq, notificationId: 'a', version: seq } as StatusEvent),
  };
}

test('a reader that is cut off while an event is executed goes on before that event', async () => {
  const held = Promise.withResolvers<void>();
  const { subscription, ends, happen } = await given((seq) => (seq === 2 ? held.promise : Promise.resolve()));
  happen(1);
  expect(await subscription.next()).toMatchObject({ value: { data: { seq: 1 } } });
  happen(2);
  const second = subscription.next();
  for (let seq = 3; ends.length === 0; seq += 1) happen(seq);
  expect(ends).toEqual([{ kind: 'slow', seq: 1 }]);
  held.resolve();
  expect(await second).toEqual({ done: true, value: undefined });
});

test('and behind it when it had left already', async () => {
  const { subscription, ends, happen } = await given(() => Promise.resolve());
  happen(1);
  happen(2);
  await subscription.next();
  await subscription.next();
  for (let seq = 3; ends.length === 0; seq += 1) happen(seq);
  expect(ends).toEqual([{ kind: 'slow', seq: 2 }]);
});
