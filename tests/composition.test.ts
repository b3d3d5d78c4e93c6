import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, test } from 'vitest';
import { makeFolder } from './private-folder.ts';

const run = promisify(execFile);
const ROOT = new URL('..', import.meta.url).pathname;
const SUPERGRAPH = 'gateway/federation/supergraph.graphql';

let remove: (() => Promise<void>) | undefined;
afterEach(() => remove?.());

/** What `npm run check` does of the supergraph, beside a history of its own. */
async function check(history: string) {
  const env = { ...process.env, GIT_DIR: history };
  return run(process.execPath, ['gateway/federation/compose.ts', '--check'], { cwd: ROOT, env }).then(
    ({ stdout }) => ({ passed: true, output: stdout }),
    ({ stdout, stderr }: { stdout: string; stderr: string }) => ({ passed: false, output: stdout + stderr }),
  );
}

/** A repository whose last release had this supergraph. */
async function givenRelease(change: (sdl: string) => string): Promise<string> {
  const { path, remove: removeFolder } = await makeFolder('history');
  remove = removeFolder;
  await mkdir(join(path, dirname(SUPERGRAPH)), { recursive: true });
  await writeFile(join(path, SUPERGRAPH), change(await readFile(join(ROOT, SUPERGRAPH), 'utf8')));
  const git = (...args: string[]) =>
    run('git', ['-c', 'user.name=a', '-c', 'user.email=a@example.com', ...args], { cwd: path });
  await git('init', '-q');
  await git('add', '.');
  await git('commit', '-qm', 'a release');
  await git('tag', 'v9.0.0');
  return join(path, '.git');
}

test('the committed supergraph is what two independent composers make of the subgraphs', async () => {
  expect(await check('/nowhere')).toEqual({
    passed: true,
    output: expect.stringContaining('no committed supergraph to compare with'),
  });
});

test('what breaks clients of the last release fails the check; what they don’t notice does not', async () => {
  const history = await givenRelease((sdl) =>
    sdl.replace(
      'enum OnAmbiguous',
      'enum Gone @join__type(graph: NOTIFICATION) {\n  LOST @join__enumValue(graph: NOTIFICATION)\n}\n\nenum OnAmbiguous',
    ),
  );
  const { passed, output } = await check(history);
  expect(output).toMatch(/Type 'Gone' was removed \(breaks clients of v9\.0\.0\)/);
  expect(passed).toBe(false);
  await remove?.();
  expect(await check(await givenRelease((sdl) => sdl))).toMatchObject({ passed: true });
});
