/**
 * Collects concurrent calls into one: while a batch is in flight the next one fills. A lone call goes out at once.
 * @param run answers the items of one batch, in order; when it rejects, every caller of that batch is rejected
 * @param options.maxItems the most items in one batch
 * @param options.maxInFlight batches at a time, 1 when left out
 * @param options.maxWaiting calls that may wait for a batch; more reject with Overloaded at once
 * @param options.maxWaitMs how long a call may wait for its batch to begin; then it rejects with Overloaded
 * @param options.weigh with `maxWeight`: a batch ends before it gets heavier (one item always fits)
 */
export function createBatcher<Item, Result>(
  run: (items: Item[]) => Promise<Result[]>,
  options: BatchOptions<Item>,
): (item: Item) => Promise<Result> {
  const waiting: Waiting<Item, Result>[] = [];
  const { maxInFlight = 1, maxWaiting = Infinity, maxWaitMs } = options;
  let inFlight = 0;
  let scheduled = false;
  let timer: NodeJS.Timeout | undefined;

  /** Whoever waits longest is the first, so one timer does for all. */
  const watch = () => {
    const oldest = waiting[0];
    if (maxWaitMs === undefined || timer !== undefined || oldest === undefined) return;
    timer = setTimeout(
      () => {
        timer = undefined;
        const due = waiting.findIndex(({ since }) => performance.now() - since < maxWaitMs);
        for (const { reject } of waiting.splice(0, due === -1 ? waiting.length : due))
          reject(new Overloaded(`no batch began within ${maxWaitMs} ms`));
        watch();
      },
      Math.max(1, oldest.since + maxWaitMs - performance.now()),
    );
  };

  const flush = () => {
    scheduled = false;
    if (inFlight >= maxInFlight || waiting.length === 0) return;
    inFlight += 1;
    void runOne(waiting.splice(0, sizeOfNext(waiting, options))).finally(() => {
      inFlight -= 1;
      flush();
    });
    flush();
    if (waiting.length > 0) return watch();
    clearTimeout(timer);
    timer = undefined;
  };

  const runOne = async (batch: Waiting<Item, Result>[]) => {
    try {
      const results = await run(batch.map(({ item }) => item));
      batch.forEach(({ resolve, reject }, index) => {
        if (index in results) resolve(results[index] as Result);
        else reject(new Error(`a batch of ${batch.length} was answered with ${results.length} results`));
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  };

  return (item) =>
    new Promise((resolve, reject) => {
      if (waiting.length >= maxWaiting) return reject(new Overloaded(`${maxWaiting} calls wait already`));
      waiting.push({ item, resolve, reject, since: performance.now() });
      watch();
      if (scheduled) return;
      scheduled = true;
      // After the current turn, so that calls made together travel together.
      setImmediate(flush);
    });
}

/** The batches come too slowly for the calls: this one was given up before its batch began, and nothing of it was done. */
export class Overloaded extends Error {
  override name = 'Overloaded';
  readonly code = 'OVERLOADED';
}

function sizeOfNext<Item>(
  waiting: { item: Item }[],
  { maxItems, weigh = () => 0, maxWeight = Infinity }: BatchOptions<Item>,
): number {
  let weight = 0;
  const tooHeavyAt = waiting.findIndex(({ item }) => (weight += weigh(item)) > maxWeight);
  return Math.min(maxItems, tooHeavyAt === -1 ? waiting.length : Math.max(1, tooHeavyAt));
}

type BatchOptions<Item> = {
  maxItems: number;
  maxInFlight?: number;
  maxWaiting?: number;
  maxWaitMs?: number;
  weigh?: (item: Item) => number;
  maxWeight?: number;
};

type Waiting<Item, Result> = {
  item: Item;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
  since: number;
};
