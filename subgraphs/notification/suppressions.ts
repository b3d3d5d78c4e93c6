import { v7 as uuidv7 } from 'uuid';
import type { NotificationType } from '../../contracts/jobs.ts';
import { createPages, type AskedPage, type Connection } from '../../platform/page.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine, isUuid, toCanonicalEmail } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import type { QuerySuppressionsArgs, SuppressInput } from './generated/graphql.ts';
import type { NotificationStore, SuppressionRow } from './store.ts';

const pages = createPages<SuppressionRow>({ kind: 'suppression', keyOf: ({ id }) => id, isKey: isUuid });

/** Stops sending to an address, to a user, or to a user from one template. Doing it twice gives the first one back. */
export async function suppress(
  store: NotificationStore,
  input: SuppressInput,
  viewer: Viewer,
): Promise<({ kind: 'suppression' } & SuppressionRow) | Refusal> {
  const { address = null, userId = null, templateCode = null, reason } = input;
  if ((address === null) === (userId === null))
    return refuse('BAD_USER_INPUT', 'address or userId is required, and only one of them', 'address', 'REQUIRED');
  if (userId !== null && !isUuid(userId)) return refuse('BAD_USER_INPUT', 'userId must be a UUID', 'userId', 'INVALID');
  if (templateCode !== null && userId === null)
    return refuse('BAD_USER_INPUT', 'templateCode goes with a userId', 'templateCode', 'INVALID');
  for (const [field, text, max] of [
    ['address', address, 4_096],
    ['templateCode', templateCode, 200],
    ['reason', reason, 1_000],
  ] as const) {
    const fault = text === null ? null : faultOfLine(text, { max });
    if (fault !== null) return refuse('BAD_USER_INPUT', `${field} ${fault}`, field, 'INVALID');
  }
  const type = typeOf(input.notificationType);
  const row = await store.insertSuppression({
    id: uuidv7(),
    type,
    address: address === null ? null : toSuppressedAddress(type, address),
    userId: userId?.toLowerCase() ?? null,
    templateCode,
    reason,
    createdBy: viewer.id,
  });
  return { kind: 'suppression', ...row };
}

/** As the list keeps an address: a push token is case-sensitive. */
export const toSuppressedAddress = (type: NotificationType, address: string): string =>
  type === 'email' ? toCanonicalEmail(address) : address;

/** One page of the list, newest first. */
export async function findSuppressions(
  store: NotificationStore,
  { notificationType, userId, address }: SuppressionFilter,
  asked: AskedPage,
): Promise<Connection<SuppressionRow> | Refusal> {
  if (userId != null && !isUuid(userId)) return refuse('BAD_USER_INPUT', 'userId must be a UUID', 'userId', 'INVALID');
  const fault = address == null ? null : faultOfLine(address, { max: 4_096 });
  if (fault !== null) return refuse('BAD_USER_INPUT', `address ${fault}`, 'address', 'INVALID');
  const where = {
    ...(notificationType != null && { type: typeOf(notificationType) }),
    ...(userId != null && { userId: userId.toLowerCase() }),
    ...(address != null && { address: { in: [address, toCanonicalEmail(address)] } }),
  };
  return pages.read(asked, (after, take) =>
    store.findSuppressions({ AND: [where, after === null ? {} : { id: { lt: after } }] }, take),
  );
}

type SuppressionFilter = Pick<QuerySuppressionsArgs, 'notificationType' | 'userId' | 'address'>;

const typeOf = (type: SuppressInput['notificationType']): NotificationType => (type === 'EMAIL' ? 'email' : 'push');
