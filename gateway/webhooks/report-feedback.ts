import { MAX_FEEDBACK, type FeedbackEvent } from '../../contracts/feedback.ts';
import { GATEWAY_SERVICE } from '../../contracts/scopes.ts';
import { ServiceUnavailable, type ServiceClient } from '../../platform/service-client.ts';

const RECORD = `mutation RecordFeedback($events: [FeedbackEventInput!]!) { recordFeedback(events: $events) }`;

/**
 * Passes feedback on to the notification service, which has stored all of it when this resolves. What it had before it passes over,
 * so a call that failed half-way may be repeated whole.
 * @returns how many were new
 * @throws ServiceUnavailable
 */
export async function reportFeedback(
  notification: ServiceClient,
  events: FeedbackEvent[],
  requestId: string,
): Promise<number> {
  let recorded = 0;
  // What one part can't be stored for must not keep the others out.
  let refusal: string | null = null;
  for (let from = 0; from < events.length; from += MAX_FEEDBACK) {
    const chunk = events.slice(from, from + MAX_FEEDBACK);
    const variables = { events: chunk.map((event) => ({ ...event, kind: event.kind.toUpperCase() })) };
    const { data, errors } = await notification.graphql(
      { query: RECORD, variables },
      { viewer: GATEWAY_SERVICE, requestId },
    );
    const [error] = errors ?? [];
    if (error !== undefined) refusal = error.message;
    else recorded += Number(data?.['recordFeedback']);
  }
  if (refusal !== null) throw new ServiceUnavailable(`the notification service answered: ${refusal}`);
  return recorded;
}
