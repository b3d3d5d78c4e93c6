import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { findBinary } from './find-binary.ts';

const promtool = findBinary('promtool');
const folder = join(import.meta.dirname, '../deploy/prometheus');
const run = (...args: string[]) => promisify(execFile)(promtool ?? '', args, { cwd: folder });

type Rules = {
  groups: {
    rules: { alert: string; expr: string; labels: object; annotations: { summary: string; runbook: string } }[];
  }[];
};

describe.skipIf(promtool === null)('the alerts', () => {
  test.each([
    ['rules', 'check', 'rules', 'alerts.yml'],
    ['configuration', 'check', 'config', 'prometheus.yml'],
    ['unit tests', 'test', 'rules', 'alerts.test.yml'],
  ])('are fine by promtool (%s)', async (_, ...args) => {
    expect((await run(...args)).stdout).toMatch(/SUCCESS/);
  });

  test('miss every service that is scraped', async () => {
    const { scrape_configs: jobs } = parse(await readFile(join(folder, 'prometheus.yml'), 'utf8')) as {
      scrape_configs: { job_name: string; dns_sd_configs: { names: string[] }[] }[];
    };
    const { groups } = parse(await readFile(join(folder, 'alerts.yml'), 'utf8')) as Rules;
    const gone = groups.flatMap((group) => group.rules).find(({ alert }) => alert === 'HeraldServiceGone');
    expect(jobs.map(({ job_name, dns_sd_configs }) => [job_name, dns_sd_configs[0]?.names])).toEqual(
      ['gateway', 'user', 'template', 'notification', 'email-worker', 'push-worker'].map((name) => [
        `herald-${name}`,
        [name],
      ]),
    );
    for (const { job_name } of jobs) expect(gone?.expr).toContain(`absent(up{job="${job_name}"} == 1)`);
  });

  test('are each tested, and say where it is written what to do', async () => {
    const { groups } = parse(await readFile(join(folder, 'alerts.yml'), 'utf8')) as Rules;
    const tests = await readFile(join(folder, 'alerts.test.yml'), 'utf8');
    const operations = await readFile(join(import.meta.dirname, '../docs/operations.md'), 'utf8');
    const rules = groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(10);
    for (const { alert, annotations } of rules) {
      expect(tests, alert).toContain(`alertname="${alert}"`);
      expect(annotations.runbook).toBe(`docs/operations.md#${alert.toLowerCase()}`);
      expect(operations, alert).toMatch(new RegExp(`^### ${alert}$`, 'm'));
    }
  });
});
