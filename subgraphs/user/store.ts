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

  /** A device is whoever's logged in there last: what is meant for the one before must not show on it. */
  const takeFromOthers = async (tx: Prisma.TransactionClient, userId: string, token: string) => {
    const where = { token, userId: { not: userId } };
    const others = await tx.pushToken.findMany({ where, select: { userId: true }, orderBy: { userId: 'asc' } });
    if (others.length === 0) return;
    await tx.pushToken.deleteMany({ where });
    for (const other of others) await change(tx, other.userId, contactChange);
  };

  return {
    /** Null when the e-mail address belongs to somebody already. */
    async insertUser(user: NewUser): Promise<UserRow | null> {
      const { pushToken, ...fields } = user;
      try {
        return await prisma.$transaction(async (tx) => {
          const id = uuidv7();
          if (pushToken !== null) await takeFromOthers(tx, id, pushToken.token);
          return tx.user.create({
            data: {
              ...fields,
              id,
              emailKey: user.email.toLowerCase(),
              ...(pushToken !== null && { pushTokens: { create: { id: uuidv7(), ...pushToken } } }),
            },
            include: withTokens,
          });
        });
      } catch (error) {
        if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') return null;
        throw error;
      }
    },

    /** One statement for any number of calls made in one turn. */
    findUser: (id: string): Promise<UserRow | null> => prisma.user.findUnique({ where: { id }, include: withTokens }),

    findUserByEmail: (email: string): Promise<UserRow | null> =>
      prisma.user.findUnique({ where: { emailKey: email.toLowerCase() }, include: withTokens }),

    /**
     * Newest first (an id is made of its time).
     * @param asked.search part of the name or the address
     * @param asked.after only ids below this
     */
    async findUsers(asked: { search: string | null; after: string | null; take: number }): Promise<UserRow[]> {
      const { search, after, take } = asked;
      const { rows } = await pool.query<{ id: string }>(
        `SELECT id FROM "user"
         WHERE ($1::text IS NULL OR (name || ' ' || coalesce(email, '')) ILIKE $1) AND ($2::uuid IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3`,
        [search === null ? null : `%${search.replace(/[\\%_]/g, '\\$&')}%`, after, take],
      );
      return prisma.user.findMany({
        where: { id: { in: rows.map(({ id }) => id) } },
        include: withTokens,
        orderBy: { id: 'desc' },
      });
    },

    /**
     * What changes the way to a user raises the version that others know. A new password ends every session.
     * @param most live tokens that a user may have
     */
    async updateUser(id: string, { pushToken, ...fields }: UserChange, most: number): Promise<UpdatedUser> {
      try {
        return await prisma.$transaction(async (tx) => {
          const isFound = await change(tx, id, {
            ...fields,
            ...(fields.email !== undefined && { emailKey: fields.email?.toLowerCase() ?? null }),
            ...((fields.email !== undefined || pushToken !== undefined) && contactChange),
            ...(fields.emailEnabled !== undefined && { preferencesVersion: { increment: 1 } }),
          });
          if (!isFound) return { kind: 'no user' };
          if (fields.passwordHash !== undefined) await tx.refreshToken.deleteMany({ where: { userId: id } });
          if (pushToken === null) await tx.pushToken.deleteMany({ where: { userId: id } });
          if (pushToken != null) {
            // Whoever comes again with their token has it as the newest.
            await tx.pushToken.deleteMany({ where: { userId: id, token: pushToken.token } });
            const living = await tx.pushToken.count({ where: { userId: id, deadAt: null } });
            if (living >= most) throw new TooManyTokens();
            await takeFromOthers(tx, id, pushToken.token);
            await tx.pushToken.create({ data: { id: uuidv7(), userId: id, ...pushToken } });
          }
          return { kind: 'updated', user: await tx.user.findUniqueOrThrow({ where: { id }, include: withTokens }) };
        });
      } catch (error) {
        if (error instanceof TooManyTokens) return { kind: 'full' };
        if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') return { kind: 'taken' };
        throw error;
      }
    },

    insertRefreshToken: async (token: {
      hash: Buffer;
      userId: string;
      family: string;
      expiresAt: Date;
    }): Promise<void> => {
      await prisma.refreshToken.create({ data: { ...token, hash: new Uint8Array(token.hash) } });
    },

    /** Uses a token up. One statement decides, so that of two callers only one gets it. */
    async useRefreshToken(hash: Buffer): Promise<UsedToken> {
      const { rows } = await pool.query<{ family: string; userId: string; isFirst: boolean }>(
        `WITH used AS (
           UPDATE refresh_token SET used_at = now() WHERE hash = $1 AND used_at IS NULL AND expires_at > now() RETURNING family, user_id)
         SELECT family, user_id AS "userId", true AS "isFirst" FROM used
         UNION ALL
         SELECT family, user_id, false FROM refresh_token WHERE hash = $1 AND used_at IS NOT NULL AND NOT EXISTS (SELECT FROM used)`,
        [hash],
      );
      const [token] = rows;
      if (token === undefined) return { kind: 'unknown' };
      if (!token.isFirst) {
        await prisma.refreshToken.deleteMany({ where: { family: token.family } });
        return { kind: 'again' };
      }
      const user = await prisma.user.findUnique({ where: { id: token.userId }, include: withTokens });
      return user === null ? { kind: 'unknown' } : { kind: 'used', user, family: token.family };
    },

    /** Ends a log-in. False when the token is of none. */
    async endFamily(hash: Buffer): Promise<boolean> {
      const token = await prisma.refreshToken.findUnique({ where: { hash: new Uint8Array(hash) } });
      if (token === null) return false;
      return (await prisma.refreshToken.deleteMany({ where: { family: token.family } })).count > 0;
    },

    purgeRefreshTokens: async (): Promise<void> => {
      await prisma.refreshToken.deleteMany({ where: { expiresAt: { lt: new Date() } } });
    },

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
        const there = await tx.pushToken.findFirst({ where: { userId, token: token.token, deadAt: null } });
        // Each start of an app adds its token again; what was there changes nothing, so nobody need be told.
        if (there === null) {
          // The row's lock keeps two additions apart.
          if (!(await change(tx, userId, contactChange))) return { kind: 'no user' };
          if ((await tx.pushToken.count({ where: { userId, deadAt: null } })) >= most) return { kind: 'full' };
          await tx.pushToken.deleteMany({ where: { userId, token: token.token } });
        }
        await takeFromOthers(tx, userId, token.token);
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

/** Takes a transaction back. */
class TooManyTokens extends Error {}

/** What others must learn: `version` is that of the cache entry. */
export type OutboxRow = { userId: string; kind: string; version: number };

export type UserRow = Prisma.UserGetPayload<{ include: { pushTokens: true } }>;

/** What is left out stays. */
export type UserChange = {
  name?: string;
  email?: string | null;
  locale?: string | null;
  timeZone?: string | null;
  emailEnabled?: boolean;
  pushEnabled?: boolean;
  passwordHash?: string;
  /** One more, the newest; null: none at all any more. */
  pushToken?: NewToken | null;
};

export type UpdatedUser =
  { kind: 'updated'; user: UserRow } | { kind: 'no user' } | { kind: 'taken' } | { kind: 'full' };

/** `again`: it was used before; its whole family is gone now. */
export type UsedToken = { kind: 'used'; user: UserRow; family: string } | { kind: 'unknown' } | { kind: 'again' };

export type PushTokenRow = Prisma.PushTokenGetPayload<object>;

export type NewToken = { kind: PushTokenKind; token: string };

export type AddedToken = { kind: 'no user' } | { kind: 'full' } | { kind: 'added'; user: UserRow; token: PushTokenRow };

export type NewUser = {
  name: string;
  email: string;
  pushToken: NewToken | null;
  locale: string | null;
  timeZone: string | null;
  emailEnabled: boolean;
  pushEnabled: boolean;
  passwordHash: string;
};
