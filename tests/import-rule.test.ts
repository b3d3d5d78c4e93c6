import { ESLint } from 'eslint';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { rooms } from '../eslint.config.js';

const root = join(import.meta.dirname, '..');
const eslint = new ESLint({ cwd: root, overrideConfigFile: true, overrideConfig: [rooms] });

describe('the import rule', () => {
  it.each([
    ['platform/http.ts', "import { jobs } from '../contracts/jobs.ts';"],
    ['platform/broker/rabbitmq.ts', "import { deliver } from '../../workers/deliver.ts';"],
    ['contracts/jobs.ts', "import { logger } from '../platform/logger.ts';"],
    ['client/client.ts', "import { jobs } from '../contracts/jobs.ts';"],
    ['prisma/migrate.ts', "import { logger } from '../platform/logger.ts';"],
    ['prisma/user/seed.ts', "import { logger } from '../../platform/logger.ts';"],
    ['prisma/user/seed.ts', "import { PrismaClient } from '../template/generated/client.ts';"],
    ['subgraphs/serve.ts', "import { resolvers } from './user/resolvers.ts';"],
    ['subgraphs/user/store.ts', "import { find } from '../template/store.ts';"],
    ['subgraphs/user/store.ts', "import type { Row } from '../notification/store.ts';"],
    ['subgraphs/user/store.ts', "import { PrismaClient } from '../../prisma/notification/generated/client.ts';"],
    ['subgraphs/user/store.ts', "import { chooseLocale } from '../rendering/choose-locale.ts';"],
    ['subgraphs/rendering/choose-locale.ts', "import { find } from '../template/store.ts';"],
    ['subgraphs/user/store.ts', "import { migrate } from '../../prisma/migrate.ts';"],
    ['subgraphs/notification/relay.ts', "import { claim } from '../../workers/deliver.ts';"],
    ['subgraphs/notification/relay.ts', "import { authenticate } from '../../gateway/auth.ts';"],
    ['workers/deliver.ts', "import { PrismaClient } from '../prisma/user/generated/client.ts';"],
    ['workers/deliver.ts', "import { store } from '../subgraphs/notification/store.ts';"],
    ['workers/email/smtp.ts', "import { auth } from '../../gateway/auth.ts';"],
    ['gateway/server.ts', "import { serve } from '../subgraphs/serve.ts';"],
    ['gateway/server.ts', "import { PrismaClient } from '../prisma/user/generated/client.ts';"],
    ['gateway/server.ts', "import { client } from '../client/client.ts';"],
    ['gateway/server.ts', "import { mailbox } from '../embedded/mailbox.ts';"],
    ['gateway/server.ts', "export { serve } from '../subgraphs/serve.ts';"],
    ['gateway/server.ts', "export * from '../workers/report.ts';"],
    ['gateway/server.ts', "await import('../workers/report.ts');"],
    ['gateway/server.ts', "type Report = import('../workers/report.ts').Report;"],
    ['embedded/main.ts', "import { deliver } from '../workers/deliver.ts';"],
    ['embedded/main.ts', "import { startWorker, deliver } from '../workers/start.ts';"],
    ['embedded/main.ts', "import * as workers from '../workers/start.ts';"],
    ['embedded/main.ts', "import { until } from '../tests/until.ts';"],
    ['bench/sends.ts', "import { store } from '../subgraphs/notification/store.ts';"],
    ['cli/main.ts', "import { startEmbedded } from '../embedded/start.ts';"],
    ['examples/send.ts', "import { jobs } from '../contracts/jobs.ts';"],
  ])('refuses in %s: %s', async (file, source) => {
    expect(await lint(file, source)).toEqual(['herald/rooms']);
  });

  it.each([
    ['platform/rest/openapi.ts', "import { problem } from '../problem.ts'; import { z } from 'zod';"],
    ['contracts/jobs.ts', "import { topology } from './topology.ts';"],
    ['prisma/migrate.ts', "import { PrismaClient } from './user/generated/client.ts';"],
    ['subgraphs/serve.ts', "import { logger } from '../platform/logger.ts';"],
    ['subgraphs/user/store.ts', "import { PrismaClient } from '../../prisma/user/generated/client.ts';"],
    ['subgraphs/user/main.ts', "import { serve } from '../serve.ts'; import { resolvers } from './resolvers.ts';"],
    ['subgraphs/notification/relay.ts', "import { jobs } from '../../contracts/jobs.ts';"],
    ['subgraphs/template/preview.ts', "import { chooseLocale } from '../rendering/choose-locale.ts';"],
    ['subgraphs/notification/relay.ts', "import { chooseLocale } from '../rendering/choose-locale.ts';"],
    ['workers/email/smtp.ts', "import { deliver } from '../deliver.ts';"],
    ['workers/deliver.ts', "import { PrismaClient } from '../prisma/notification/generated/client.ts';"],
    ['gateway/rest/table.ts', "import { jobs } from '../../contracts/jobs.ts'; import { auth } from '../auth.ts';"],
    ['embedded/main.ts', "import { startWorker, type WorkerConfig } from '../workers/start.ts';"],
    ['embedded/main.ts', "import { migrate } from '../prisma/migrate.ts';"],
    ['bench/sends.ts', "import { startHerald } from '../tests/start.ts';"],
    ['tests/retry.test.ts', "import { toRetryDelay } from '../workers/retry.ts';"],
    ['cli/main.ts', "import { client } from '../client/client.ts';"],
    ['cli/checks.ts', "import { readConfig } from '../gateway/config.ts';"],
    ['examples/send.ts', "import { client } from '../client/client.ts';"],
  ])('allows in %s: %s', async (file, source) => {
    expect(await lint(file, source)).toEqual([]);
  });
});

/** @returns the rules broken by a file of this text at this path; the file need not exist */
async function lint(file: string, source: string): Promise<unknown[]> {
  const [result] = await eslint.lintText(source, { filePath: join(root, file) });
  return result!.messages.map((message) => message.ruleId ?? message.message);
}
