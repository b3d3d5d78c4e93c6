import { expect, test } from 'vitest';
import { findServices } from '../services.ts';

const GIVEN = { AMQP_URL: 'amqp://of.somebody', REDIS_URL: 'redis://of.somebody' };

test('a server that stories kill is installed although URLs are given', async () => {
  const said: string[] = [];
  const installed: string[] = [];
  const programs = { 'rabbitmq-server': () => (installed.length > 0 ? '/usr/sbin/rabbitmq-server' : null) };
  const install = async (packages: string[]) => void installed.push(...packages);
  const { rabbitmq, redis, problem } = await findServices(GIVEN, (line) => said.push(line), { programs, install });
  expect(installed).toEqual(['rabbitmq-server']);
  expect(said.join()).toMatch(/installing rabbitmq-server with apt-get/);
  expect([rabbitmq.url, redis.url, problem]).toEqual(['amqp://of.somebody', 'redis://of.somebody', null]);
});

test('what can be neither found nor installed is a problem, although URLs are given', async () => {
  const programs = {
    'rabbitmq-server': () => null,
    'redis-server': () => '/usr/bin/redis-server',
    chromium: () => null,
  };
  const { problem } = await findServices(GIVEN, () => {}, { programs, install: null });
  expect(problem).toMatch(/^rabbitmq-server, chromium missing: install/);
});
