import type { Logger } from '../../platform/logger.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { toLogIds } from '../../platform/request-context.ts';
import type { SubgraphContext } from '../serve.ts';
import type { Sent } from './examine-send.ts';
import type { SendNotificationInput } from './generated/graphql.ts';
import { sendNotification, type SendDependencies } from './send-notification.ts';

export const MAX_SENDS = 1_000;

/** One that this service or PostgreSQL could not take, for a reason that nobody expected. */
export type Failed = { kind: 'failed' };

/**
 * Accepts up to 1,000 at once; each has its own result, in order. They travel in the same batches as single sends. The others are
 * stored by then, so not even an error of ours that one meets fails them all.
 */
export async function sendNotifications(
  deps: SendDependencies & { log: Logger },
  inputs: readonly SendNotificationInput[],
  context: SubgraphContext,
): Promise<(Sent | Refusal | Failed)[] | Refusal> {
  if (inputs.length === 0 || inputs.length > MAX_SENDS) {
    return refuse('BAD_USER_INPUT', `inputs must have 1 to ${MAX_SENDS} items`, 'inputs', 'INVALID');
  }
  return Promise.all(
    inputs.map((input) =>
      sendNotification(deps, input, context).catch((error: unknown): Failed => {
        deps.log.error({ err: error, ...toLogIds(context) }, 'one of many sends met an unexpected error');
        return { kind: 'failed' };
      }),
    ),
  );
}
