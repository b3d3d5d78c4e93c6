import type { NotificationType } from './jobs.ts';

/** The names in the broker (docs/protocol.md, "RabbitMQ"). `prefix` keeps several Heralds apart on one broker; normally ''. */
export const topologyNames = (prefix: string) => ({
  direct: `${prefix}notifications.direct`,
  events: `${prefix}notifications.events`,
  queues: {
    email: `${prefix}email.queue`,
    push: `${prefix}push.queue`,
    failed: `${prefix}failed.queue`,
  } satisfies Record<QueueKey, string>,
  markQueue: (mark: string) => `${prefix}herald.mark.${mark}`,
});

export type TopologyNames = ReturnType<typeof topologyNames>;

/** The routing keys of the direct exchange, one queue each. */
export type QueueKey = NotificationType | 'failed';

const FAILED_QUEUE_MAX_LENGTH = 100_000;

/** What the broker must hold. Nothing consumes failed.queue, so it is bounded: unbounded it would end in a memory alarm. */
export const toTopology = (names: TopologyNames) => ({
  exchanges: [
    { name: names.direct, type: 'direct' as const },
    { name: names.events, type: 'topic' as const },
  ],
  queues: [
    { name: names.queues.email, exchange: names.direct, key: 'email', levels: 3 },
    { name: names.queues.push, exchange: names.direct, key: 'push', levels: 3 },
    { name: names.queues.failed, exchange: names.direct, key: 'failed', maxLength: FAILED_QUEUE_MAX_LENGTH },
  ],
});

/** Priority 1–10 of a send to the broker's three levels: 1–3 → 1, 4–7 → 2, 8–10 → 3. */
export const toLevel = (priority: number): number => (priority <= 3 ? 1 : priority <= 7 ? 2 : 3);
