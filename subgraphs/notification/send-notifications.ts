import { refuse, type Refusal } from '../../platform/refusal.ts';
import type { SignedContext } from '../../platform/trust.ts';
import type { SendNotificationInput } from './generated/graphql.ts';
import { sendNotification, type SendDependencies, type Sent } from './send-notification.ts';

export const MAX_SENDS = 1_000;

/** Accepts up to 1,000 at once; each has its own result, in order. They travel in the same batches as single sends. */
export async function sendNotifications(
  deps: SendDependencies,
  inputs: readonly SendNotificationInput[],
  context: SignedContext,
): Promise<(Sent | Refusal)[] | Refusal> {
  if (inputs.length === 0 || inputs.length > MAX_SENDS) {
    return refuse('BAD_USER_INPUT', `inputs must have 1 to ${MAX_SENDS} items`, 'inputs', 'INVALID');
  }
  return Promise.all(inputs.map((input) => sendNotification(deps, input, context)));
}
