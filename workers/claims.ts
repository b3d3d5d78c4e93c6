import type { Message } from '../contracts/message.ts';
import type { NotificationType } from '../contracts/jobs.ts';
import type { OutcomeClass, TargetResult } from '../contracts/report.ts';
import { createBatcher } from '../platform/batch.ts';
import type { Pool } from '../platform/postgres.ts';
import type { Target } from './targets.ts';

/** A worker's right to one notification, with what it has to send. */
export type Claim = {
  id: string;
  token: number;
  type: NotificationType;
  userId: string;
  contactVersion: number;
  /** By the database's clock. */
  isExpired: boolean;
  /** The user is, or the user for this template. */
  isSuppressed: boolean;
  /** Of the message's own targets. */
  unreachable: Unreachable[] | null;
  /** Devices that need no other try. */
  settled: { target: string; class: 'accepted' | 'permanent' | 'address_dead' }[] | null;
  correlationId: string | null;
  /** Null when the content was erased. */
  message: Message | null;
};

export type Unreachable = { id: string; why: 'suppressed' | 'dead' };

export type Claims = ReturnType<typeof createClaims>;

/** The SQL functions that a worker may call, each grouped over concurrent jobs. */
export function createClaims(type: NotificationType, pool: Pool, leaseSeconds: number) {
  return {
    /**
     * `nothing to do`: not pending, not due yet, or leased to another worker. `unknown`: there is no such notification of our type.
     */
    claim: createBatcher(async (ids: string[]): Promise<(Claim | 'nothing to do' | 'unknown')[]> => {
      const unique = [...new Set(ids)];
      const { rows } = await pool.query<Claim | { id: string; token: null }>({
        name: 'claim-jobs',
        text: `SELECT id, token, type, user_id AS "userId", contact_version AS "contactVersion", is_expired AS "isExpired", is_suppressed AS "isSuppressed",
                 unreachable, settled, correlation_id AS "correlationId", message
               FROM claim_jobs($1, $2, $3)`,
        values: [type, unique, leaseSeconds],
      });
      const found = new Map(rows.map((row) => [row.id, row]));
      return ids.map((id) => {
        const row = found.get(id);
        if (row === undefined) return 'nothing to do';
        if (row.token === null) return 'unknown';
        // Of two messages with one id, the first takes the claim.
        found.delete(id);
        return row;
      });
    }, BATCH),

    startAttempt: createBatcher(async (starts: AttemptStart[]): Promise<Start[]> => {
      const { rows } = await pool.query<{ id: string; token: number; refused: Refused | null }>({
        name: 'start-attempts',
        text: 'SELECT id, token, refused FROM start_attempts($1, $2)',
        values: [JSON.stringify(starts), leaseSeconds],
      });
      // A batch may hold an older claim of the same notification too.
      const answers = new Map<string, Start>(rows.map((row) => [keyOf(row), row.refused ?? 'started']));
      return starts.map((start) => answers.get(keyOf(start)) ?? 'lost');
    }, BATCH),

    /** Those of the targets that nothing may be sent to. */
    async findUnreachable(targets: Target[]): Promise<Unreachable[]> {
      const { rows } = await pool.query<{ unreachable: Unreachable[] | null }>(
        'SELECT unreachable_targets($1, $2) AS unreachable',
        [type, JSON.stringify(targets.map(toAsked))],
      );
      return rows[0]?.unreachable ?? [];
    },

    /** Keeps an outcome in its attempt, for the sweeper. False when that attempt is closed already: then only a report can tell. */
    keepOutcome: createBatcher(async (outcomes: KeptOutcome[]): Promise<boolean[]> => {
      const { rows } = await pool.query<{ id: string; token: number }>('SELECT id, token FROM keep_outcomes($1)', [
        JSON.stringify(outcomes),
      ]);
      const kept = new Set(rows.map(keyOf));
      return outcomes.map(({ notification_id: id, token }) => kept.has(keyOf({ id, token })));
    }, BATCH),

    /** Gives back claims that came to nothing; the notifications are due again after the delay. */
    release: createBatcher(async (claims: { id: string; token: number }[]): Promise<true[]> => {
      await pool.query('SELECT id FROM release_claims($1, $2, $3)', [
        claims.map(({ id }) => id),
        claims.map(({ token }) => token),
        RELEASE_DELAY_MS,
      ]);
      return claims.map(() => true);
    }, BATCH),
  };
}

const BATCH = { maxItems: 100 };
const RELEASE_DELAY_MS = 5_000;

const keyOf = ({ id, token }: { id: string; token: number }) => `${id}:${token}`;

const toAsked = ({ id, message }: Target) =>
  message.type === 'email' ? { id, address: id } : { id, token: message.token.token };

/** What became of the wish to send; only after `started` may it be. `lost`: the claim is no longer ours. */
export type Start = 'started' | 'lost' | Refused;

/** What has happened to the notification since it was claimed. */
export type Refused = 'EXPIRED' | 'SUPPRESSED' | 'ERASED';

/** `ended`: the attempt before it under the same claim, which this closes. */
type AttemptStart = { id: string; token: number; provider: string; ended: EndedAttempt | null };

/** In the spelling of the SQL functions. */
export type EndedAttempt = {
  provider: string;
  class: OutcomeClass;
  reason: string | null;
  retry_after_seconds: number | null;
  provider_message_id: string | null;
  results: TargetResult[];
};

export type KeptOutcome = {
  notification_id: string;
  token: number;
  class: OutcomeClass;
  reason: string | null;
  retry_after_seconds: number | null;
  provider_message_id: string | null;
  results: TargetResult[] | null;
};
