import { expect, test } from 'vitest';
import { toLevel, topologyNames, toTopology } from '../../contracts/topology.ts';

test.each([
  [1, 1],
  [2, 1],
  [3, 1],
  [4, 2],
  [5, 2],
  [6, 2],
  [7, 2],
  [8, 3],
  [9, 3],
  [10, 3],
])('priority %i is level %i', (priority, level) => {
  expect(toLevel(priority)).toBe(level);
});

test('the names are those of the specification, and a prefix keeps two Heralds apart', () => {
  expect(topologyNames('')).toMatchObject({
    direct: 'notifications.direct',
    events: 'notifications.events',
    queues: { email: 'email.queue', push: 'push.queue', failed: 'failed.queue' },
  });
  expect(topologyNames('').markQueue('m')).toBe('herald.mark.m');
  const { direct, events, queues, markQueue } = topologyNames('blue.');
  const names = [direct, events, ...Object.values(queues), markQueue('m')];
  expect(names.filter((name) => !name.startsWith('blue.'))).toEqual([]);
});

test('jobs have three levels, and failed.queue is bounded', () => {
  expect(toTopology(topologyNames('')).queues).toEqual([
    { name: 'email.queue', exchange: 'notifications.direct', key: 'email', levels: 3 },
    { name: 'push.queue', exchange: 'notifications.direct', key: 'push', levels: 3 },
    { name: 'failed.queue', exchange: 'notifications.direct', key: 'failed', maxLength: 100_000 },
  ]);
});
