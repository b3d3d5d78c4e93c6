import type { OutboxRow } from './outbox.ts';

const FULL_LOOK_EVERY_MS = 10_000;
/** Longer than the transaction that inserted a row may have taken, whose due time is that of its start. */
const MARGIN_MS = 60_000;
const PRIORITIES = 10;

/**
 * Remembers, by priority, before which due time nothing is left in the outbox. While a long transaction of the server keeps deleted
 * rows in the index, a look from the beginning would walk through all of them each time. What another relay let go of lies below the
 * mark; a full look finds it, every 10 s.
 */
export function createLowWater() {
  let marks: number[] = [];
  let lookedAt = -Infinity;
  return {
    /** Where to look from, for the priorities 1 to 10. */
    next(nowMs: number): Date[] {
      if (nowMs - lookedAt >= FULL_LOOK_EVERY_MS) {
        lookedAt = nowMs;
        marks = Array.from({ length: PRIORITIES }, () => 0);
      }
      return marks.map((mark) => new Date(mark));
    },
    /** @param due what a look found: highest priority first, oldest first, at most `limit` */
    note(due: Pick<OutboxRow, 'priority' | 'dueAt'>[], limit: number, nowMs: number): void {
      // With a full batch, the look did not reach the priorities below its last.
      const lowest = due.length < limit ? 1 : (due.at(-1)?.priority ?? 1);
      for (let priority = lowest; priority <= PRIORITIES; priority += 1) {
        const oldest = due.find((row) => row.priority === priority);
        marks[priority - 1] = (oldest?.dueAt.getTime() ?? nowMs) - MARGIN_MS;
      }
    },
  };
}
