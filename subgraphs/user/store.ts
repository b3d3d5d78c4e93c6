import { PrismaPg } from '@prisma/adapter-pg';
import { v7 as uuidv7 } from 'uuid';
import type { PushTokenKind } from '../../contracts/message.ts';
import { withTransaction, type Pool } from '../../platform/postgres.ts';
import { Prisma, PrismaClient } from '../../prisma/user/generated/client.ts';
import { versionOf } from './cache-preferences.ts';

export type UserStore = ReturnType<typeof createStore>;

/** Everything that touches users_db. */
export function createStore(pool: Pool) {
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });
  const withTokens = { pushTokens: { orderBy: [{ createdAt: 'desc' as const }, { id: 'desc' as const }] } };

  /** Changes a user's row, and with it the version that others know; the row that tells them is written in the same transaction. */
  const change = async (tx: Prisma.TransactionClient, id: string, data: Prisma.UserUpdateManyMutationInput) => {
    const [user] = await tx.user.updateManyAndReturn({ where: { id }, data });
    if (user !== undefined)
      await tx.userOutbox.create({ data: { userId: id, kind: 'preferences', version: versionOf(user) } });
    return user !== undefined;
  };
  const contactChange = { contactVersion: { increment: 1 } };

  return {
    /** Null when the e-mail address belongs to somebody already. */
    async insertUser(user: NewUser): Promise<UserRow | null> {
      const { pushToken, ...fields } = user;
      try {
        return await prisma.user.create({
          data: {
            ...fields,
            id: uuidv7(),
            emailKey: user.email.toLowerCase(),
            ...(pushToken !== null && { pushTokens: { create: { id: uuidv7(), ...pushToken } } }),
          },
          include: withTokens,
        });
      } catch (error) {
        if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') return null;
        throw error;
      }
    },

    /** One statement for any number of calls made in one turn. */
    findUser: (id: string): Promise<UserRow | null> => prisma.user.findUnique({ where: { id }, include: withTokens }),

    /** Null when there is no such user. The row that tells others is written in the same transaction. */
    setPreferences: (id: string, preferences: { email: boolean; push: boolean }): Promise<UserRow | null> =>
      prisma.$transaction(async (tx) => {
        const data = {
          emailEnabled: preferences.email,
          pushEnabled: preferences.push,
          preferencesVersion: { increment: 1 },
        };
        return (await change(tx, id, data)) ? tx.user.findUnique({ where: { id }, include: withTokens }) : null;
      }),

    /** @param most live tokens that a user may have */
    addToken: (userId: string, token: NewToken, most: number): Promise<AddedToken> =>
      prisma.$transaction(async (tx) => {
        // The row's lock keeps two additions apart.
        if (!(await change(tx, userId, contactChange))) return { kind: 'no user' };
        await tx.pushToken.deleteMany({ where: { userId, token: token.token, deadAt: { not: null } } });
        const there = await tx.pushToken.findFirst({ where: { userId, token: token.token } });
        if (there === null && (await tx.pushToken.count({ where: { userId, deadAt: null } })) >= most)
          return { kind: 'full' };
        const added = there ?? (await tx.pushToken.create({ data: { id: uuidv7(), userId, ...token } }));
        const user = await tx.user.findUniqueOrThrow({ where: { id: userId }, include: withTokens });
        return { kind: 'added', user, token: added };
      }),

    /** Null when the user has no such token. */
    removeToken: (userId: string, id: string): Promise<UserRow | null> =>
      prisma.$transaction(async (tx) => {
        if ((await tx.pushToken.deleteMany({ where: { id, userId } })).count === 0) return null;
        await change(tx, userId, contactChange);
        return tx.user.findUnique({ where: { id: userId }, include: withTokens });
      }),

    /** Marks tokens that a provider does not know any more. @returns the users that had one of them alive */
    buryTokens: (ids: string[]): Promise<UserRow[]> =>
      prisma.$transaction(async (tx) => {
        const buried = await tx.pushToken.updateManyAndReturn({
          where: { id: { in: ids }, deadAt: null },
          data: { deadAt: new Date() },
        });
        // In one order, so that two calls can't deadlock.
        const userIds = [...new Set(buried.map(({ userId }) => userId))].sort();
        for (const userId of userIds) await change(tx, userId, contactChange);
        return tx.user.findMany({ where: { id: { in: userIds } }, include: withTokens });
      }),

    /** False when there is no such user. The row that tells others is written in the same transaction. */
    deleteUser: (id: string): Promise<boolean> =>
      prisma.$transaction(async (tx) => {
        const user = await tx.user.findUnique({ where: { id } });
        if (user === null || (await tx.user.deleteMany({ where: { id } })).count === 0) return false;
        await tx.userOutbox.create({ data: { userId: id, kind: 'deleted', version: versionOf(user) + 1 } });
        return true;
      }),

    /**
     * Takes due outbox rows, oldest first; those that were told go, the others are due again later. Rows that another process
     * holds are skipped. @returns how many it took
     */
    takeDue: (most: number, postponeMs: number, tell: (row: OutboxRow) => Promise<boolean>): Promise<number> =>
      withTransaction(pool, async (client) => {
        const { rows } = await client.query<OutboxRow & { id: string }>(
          `SELECT id, user_id AS "userId", kind, version FROM user_outbox WHERE due_at <= now() ORDER BY due_at, id LIMIT $1
           FOR UPDATE SKIP LOCKED`,
          [most],
        );
        const told = await Promise.all(rows.map(tell));
        const ids = (wanted: boolean) => rows.filter((_, place) => told[place] === wanted).map(({ id }) => id);
        await client.query('DELETE FROM user_outbox WHERE id = ANY ($1::bigint[])', [ids(true)]);
        await client.query(
          `UPDATE user_outbox SET due_at = now() + $2 * interval '1 millisecond' WHERE id = ANY ($1::bigint[])`,
          [ids(false), postponeMs],
        );
        return rows.length;
      }),

    stop: () => prisma.$disconnect(),
  };
}

/** What others must learn: `version` is that of the cache entry. */
export type OutboxRow = { userId: string; kind: string; version: number };

export type UserRow = Prisma.UserGetPayload<{ include: { pushTokens: true } }>;

export type PushTokenRow = Prisma.PushTokenGetPayload<object>;

export type NewToken = { kind: PushTokenKind; token: string };

export type AddedToken = { kind: 'no user' } | { kind: 'full' } | { kind: 'added'; user: UserRow; token: PushTokenRow };

export type NewUser = {
  name: string;
  email: string;
  pushToken: NewToken | null;
  locale: string | null;
  emailEnabled: boolean;
  pushEnabled: boolean;
  passwordHash: string;
};
