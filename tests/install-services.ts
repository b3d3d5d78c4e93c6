import { spawn } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { findBinary } from './find-binary.ts';

/** Whether `installPackages` can work here: Debian or Ubuntu, as root. */
export const canInstall = (): boolean =>
  process.platform === 'linux' && process.getuid?.() === 0 && findBinary('apt-get') !== null;

/** Installs Debian packages without letting them start the machine's own services. */
export async function installPackages(packages: string[]): Promise<void> {
  const forbidsStart = !existsSync(POLICY);
  const allowStart = () => rmSync(POLICY, { force: true });
  if (forbidsStart) {
    writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
    process.once('exit', allowStart);
  }
  try {
    await aptGet('update');
    await aptGet('install', '-y', '--no-install-recommends', ...packages);
  } finally {
    if (forbidsStart) {
      allowStart();
      process.off('exit', allowStart);
    }
  }
}

function aptGet(...args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const child = spawn('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=120', ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0
        ? resolve()
        : reject(new Error(`apt-get ${args.join(' ')} failed (${code}): ${output.trim().slice(-1000)}`)),
    );
  });
}

/** While this script says 101, package installation starts no service (Debian's invoke-rc.d). */
const POLICY = '/usr/sbin/policy-rc.d';
