import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../platform/env.ts';
import { renderFatal, startAll, Started, stopWithin, untilAborted } from '../../platform/lifecycle.ts';

const never = () => new Promise<void>(() => {});
const failing = (message: string) => () => Promise.reject(new Error(message));

describe('a stop', () => {
  test('closes in reverse order, each part after the one before it is gone', async () => {
    const said: string[] = [];
    const started = new Started();
    for (const name of ['first', 'second']) {
      started.onStop(name, async () => {
        said.push(`${name} stops`);
        await Promise.resolve();
        said.push(`${name} is gone`);
      });
    }
    await started.stop();
    expect(said).toEqual(['second stops', 'second is gone', 'first stops', 'first is gone']);
  });

  test('closes together what is told to', async () => {
    const gate = Promise.withResolvers<void>();
    const started = new Started('together');
    started.onStop('the one that waits', () => gate.promise);
    started.onStop('the one that it waits for', () => gate.resolve());
    await started.stop();
  });

  test('goes on when a part fails, and tells of all that failed', async () => {
    const started = new Started();
    let closed = false;
    started.onStop('the database', failing('it hangs'));
    started.onStop('the cache', () => void (closed = true));
    started.onStop('the server', failing('it burns'));
    await expect(started.stop()).rejects.toThrow(
      'could not stop the server: it burns; could not stop the database: it hangs',
    );
    expect(closed).toBe(true);
  });

  test('that takes too long names what it waits for, from the outside in', async () => {
    const worker = await startAll(async (parts) => {
      parts.onStop('the pool', () => {});
      parts.onStop('the consumer', never);
    });
    const services = new Started();
    services.onStop('the broker', () => {});
    const workers = services.add('the workers', new Started('together'));
    workers.onStop('the push worker', never);
    workers.add('the email worker', worker);
    services.onStop('the intake', () => {});
    await expect(stopWithin(services, 50, 'its work is taken up again')).rejects.toThrow(
      'still stopping after 0.1 s: the workers: the email worker: the consumer, the workers: the push worker; its work is taken up again',
    );
  });
});

describe('a start that fails', () => {
  test('stops what it had started, and throws its own error', async () => {
    const error = new Error('the port is taken');
    let closed = false;
    const starting = startAll(async (started) => {
      started.onStop('the pool', () => void (closed = true));
      throw error;
    });
    await expect(starting).rejects.toBe(error);
    expect(closed).toBe(true);
  });

  test('whose clean-up fails as well tells of both, its own error first', async () => {
    const error = new ConfigError(['PORT is wrong', 'HOST is wrong']);
    const failed: unknown = await startAll(async (started) => {
      started.onStop('the pool', failing('it hangs'));
      throw error;
    }).catch((thrown: unknown) => thrown);
    expect(failed).toMatchObject({ errors: [error, { message: 'could not stop the pool: it hangs' }] });
    expect(renderFatal(failed).split('\n')).toEqual([
      'herald: PORT is wrong',
      'herald: HOST is wrong',
      'herald: could not stop the pool: it hangs',
    ]);
  });
});

describe('work that is waited for until a signal', () => {
  test('gives its result, or its error', async () => {
    const { signal } = new AbortController();
    expect(await untilAborted(Promise.resolve(7), signal)).toBe(7);
    await expect(untilAborted(failing('no')(), signal)).rejects.toThrow('no');
  });

  test('is left to itself when the signal comes, and may fail then', async () => {
    const stopping = new AbortController();
    const work = Promise.withResolvers<void>();
    const waiting = untilAborted(work.promise, stopping.signal);
    stopping.abort(new Error('Ctrl-C'));
    await expect(waiting).rejects.toThrow('Ctrl-C');
    work.reject(new Error('the database is gone'));
    await expect(untilAborted(Promise.resolve(), stopping.signal)).rejects.toThrow('Ctrl-C');
  });
});
