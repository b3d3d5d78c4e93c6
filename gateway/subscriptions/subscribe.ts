import { type GraphQLError, type GraphQLFormattedError } from 'graphql';
import { isRefusal, toGraphQLError } from '../../platform/refusal.ts';
import type { SignedContext } from '../../platform/trust.ts';
import type { Prepared } from './engine.ts';
import type { Executions, Result } from './executions.ts';
import { openStatusStream, type StreamEnd, type StreamListeners, type StreamSources } from './status-stream.ts';

/** What a client's subscription gives: a result for each event, and how it ended. An iterator that takes `return` while it waits. */
export type Subscription = AsyncGenerator<Result, void, void> & { end(): StreamEnd | null };

export type OnEnd = NonNullable<StreamListeners['onEnd']>;

export type SubscriptionDependencies = StreamSources & {
  executions: Executions;
  show: (error: GraphQLError, requestId: string) => GraphQLFormattedError;
};

/** Begins a subscription. @param onEnd see StreamListeners @returns errors alone when it is refused */
export async function subscribe(
  { executions, show, ...sources }: SubscriptionDependencies,
  { topic, selection }: Prepared,
  context: SignedContext,
  onEnd: OnEnd,
): Promise<Subscription | { errors: GraphQLFormattedError[] }> {
  const execution = executions.share(selection, context.viewer);
  const stream = await openStatusStream(sources, topic, context, {
    onSoon: (told) => void execution.run(told),
    onEnd,
  }).catch((error: unknown) => {
    execution.release();
    throw error;
  });
  if (isRefusal(stream)) {
    execution.release();
    return { errors: [show(toGraphQLError(stream), context.requestId)] };
  }

  let state: 'open' | 'last' | 'done' = 'open';
  const finish = () => {
    if (state !== 'done') execution.release();
    state = 'done';
    stream.leave();
    return { done: true as const, value: undefined };
  };
  const subscription: Subscription = {
    async next() {
      if (state !== 'open') return finish();
      const told = await stream.next();
      if (told !== null) {
        const result = await execution.run(told);
        // Whoever is cut off meanwhile goes on before it.
        if (stream.end()?.kind === 'slow') return finish();
        stream.pass(told);
        // Without data at all: a new schema has no such fields, so nothing that follows can be told either.
        if (!('data' in result) || result.data === undefined) state = 'last';
        return { done: false, value: result };
      }
      const end = stream.end();
      if (end?.kind !== 'refused') return finish();
      state = 'last';
      return { done: false, value: { errors: [show(toGraphQLError(end.refusal), context.requestId)] } };
    },
    return: async () => finish(),
    throw: async () => finish(),
    end: () => stream.end(),
    [Symbol.asyncIterator]: () => subscription,
    [Symbol.asyncDispose]: async () => void finish(),
  };
  return subscription;
}

/** The same with what every transport has in common. */
export type Subscribe = (prepared: Prepared, context: SignedContext, onEnd: OnEnd) => ReturnType<typeof subscribe>;
