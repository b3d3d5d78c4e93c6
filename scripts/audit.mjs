// Fails when a package that runs in production has a known critical fault. Without a registry that answers, it says so and passes:
// nobody should be kept from a commit by a network.
import { spawnSync } from 'node:child_process';

const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], { encoding: 'utf8' });
const report = parse(stdout);
const counts = report?.metadata?.vulnerabilities;

if (counts === undefined) {
  console.log(`could not be audited: ${report?.message ?? report?.error?.summary ?? 'npm audit did not answer'}`);
} else if (counts.critical > 0) {
  const names = Object.values(report.vulnerabilities).filter(({ severity }) => severity === 'critical');
  console.error(`known critical faults in ${names.map(({ name }) => name).join(', ')}: see npm audit`);
  process.exitCode = 1;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
