/** A moment of `performance.now()` after which nobody waits for an answer any more. It stays within the process. */
export type Deadline = number;

export const deadlineIn = (ms: number): Deadline => performance.now() + ms;

/** Milliseconds that are left; 0 or less when it has passed. */
export const leftOf = (deadline: Deadline): number => deadline - performance.now();
