/**
 * What a notification goes through, as `herald_stage_seconds{stage}` measures it: publish and whole in the notification service, claim, send
 * and status in the workers. The buckets are seconds, up to where somebody should be woken.
 */
export const STAGE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1_800, 7_200];

/** The header of a job that says when it was published, milliseconds since 1970. */
export const PUBLISHED_AT = 'published-at';
