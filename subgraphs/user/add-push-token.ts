import { MAX_TARGETS } from '../../contracts/report.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import { faultOfToken, kindOfToken } from './push-token.ts';
import type { PushTokenRow, UserRow, UserStore } from './store.ts';

type Changed = { kind: 'changed'; user: UserRow; token: PushTokenRow };

const noSuchUser = refuse('NOT_FOUND', 'userId: there is no such user', 'userId', 'NOT_FOUND');

/**
 * Adds a device. A live token that is there already is given back as it is; a dead one is a device that came back, and gets a
 * new id, because the old one stays dead.
 */
export async function addPushToken(store: UserStore, userId: string, token: string): Promise<Changed | Refusal> {
  const fault = faultOfToken(token);
  if (fault !== null) return refuse('BAD_USER_INPUT', `token ${fault}`, 'token', 'INVALID');
  if (!isUuid(userId)) return noSuchUser;
  const added = await store.addToken(userId, { token, kind: kindOfToken(token) }, MAX_TARGETS);
  switch (added.kind) {
    case 'no user':
      return noSuchUser;
    case 'full':
      return tooManyDevices('token');
    case 'added':
      return { ...added, kind: 'changed' };
  }
}

export const tooManyDevices = (field: string) =>
  refuse('UNPROCESSABLE', `${field}: the user has ${MAX_TARGETS} devices; remove one first`, field, 'TOO_MANY');
