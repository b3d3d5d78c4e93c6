import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { rateLimitHeaders, refuseRate, type RateLimits } from './rate-limit.ts';
import type { Refusal } from './refusal.ts';
import type { Viewer } from './trust.ts';

const WINDOW_S = 60;

const perMinute = (usual: number) =>
  z.coerce
    .number('must be a number')
    .int('must be a whole number')
    .min(0, 'must be 0 (no limit) or more')
    .default(usual);

/** The variables of the limits: requests a minute of one client, of one user, of one address without a valid credential. 0: no limit. */
export const rateLimitVariables = {
  RATE_LIMIT_PER_MINUTE: perMinute(6_000),
  USER_RATE_LIMIT_PER_MINUTE: perMinute(600),
  ADDRESS_RATE_LIMIT_PER_MINUTE: perMinute(120),
};

export const toRates = (vars: Record<keyof typeof rateLimitVariables, number>): Rates => ({
  clientPerMinute: vars.RATE_LIMIT_PER_MINUTE,
  userPerMinute: vars.USER_RATE_LIMIT_PER_MINUTE,
  addressPerMinute: vars.ADDRESS_RATE_LIMIT_PER_MINUTE,
});

export type Rates = { clientPerMinute: number; userPerMinute: number; addressPerMinute: number };

export type Admission = ReturnType<typeof createAdmission>;

/** Who may ask now. The admin, the workers and processes of ours always may. */
export function createAdmission(limits: RateLimits, { clientPerMinute, userPerMinute, addressPerMinute }: Rates) {
  const clients = limits.create('client', clientPerMinute, WINDOW_S);
  const users = limits.create('user', userPerMinute, WINDOW_S);
  const addresses = limits.create('address', addressPerMinute, WINDOW_S);

  const take = async (viewer: Viewer | null, address: string, points: number) => {
    switch (viewer?.kind) {
      case 'admin':
      case 'worker':
      case 'service':
        return null;
      case 'client':
        return clients.consume(viewer.id, points);
      case 'user':
        return users.consume(viewer.id, points);
      case 'anonymous':
      case undefined:
        return addresses.consume(address, points);
    }
  };

  return {
    /**
     * Counts a request, says in its answer's headers what is left, and refuses it when there is nothing.
     * @param viewer null: its credential opens nothing
     */
    async admit(viewer: Viewer | null, request: FastifyRequest, reply: FastifyReply): Promise<Refusal | null> {
      const share = await take(viewer, request.ip, 1);
      if (share === null) return null;
      void reply.headers(rateLimitHeaders(share));
      return share.allowed ? null : refuseRate(share);
    },
    /** Counts what comes otherwise than as a request: a connection, or a message of one. */
    async count(viewer: Viewer | null, address: string): Promise<Refusal | null> {
      const share = await take(viewer, address, 1);
      return share === null || share.allowed ? null : refuseRate(share);
    },
    /** Counts what a request holds beyond one thing, once it is known. */
    async charge(viewer: Viewer, points: number): Promise<Refusal | null> {
      const share = points > 0 ? await take(viewer, '', points) : null;
      return share === null || share.allowed ? null : refuseRate(share);
    },
  };
}
