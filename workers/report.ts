import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import {
  MAX_PROVIDER_MESSAGE_ID,
  MAX_REASON,
  MAX_REPORTS,
  MAX_REPORTS_BYTES,
  toReportedStatus,
  toRetryAfter,
  type StatusReport,
  type StatusReportAnswer,
} from '../contracts/report.ts';
import type { NotificationType } from '../contracts/jobs.ts';
import { createBatcher } from '../platform/batch.ts';
import type { Logger } from '../platform/logger.ts';
import { toRing } from '../platform/secret-ring.ts';
import type { Claim, Claims, KeptOutcome } from './claims.ts';
import type { Outcome } from './deliver.ts';

/** How long the gateway is tried before an outcome is kept in the database. */
const REPORT_FOR_MS = 2_000;
const REPORT_PAUSE_MS = 200;
/** The same once the worker stops: whoever hangs must not hold that up. */
const STOPPING_REPORT_FOR_MS = 500;

/**
 * Creates the reporter: outcomes go to the gateway's status path, grouped. When the gateway does not take them within 2 s they
 * are kept in their attempts, where the sweeper finds them; with PostgreSQL away too, both are tried until one answers.
 * @param options.signal aborted when the process must end: what can't be told then stays for the sweeper
 */
export function createReporter(options: {
  type: NotificationType;
  gatewayUrl: string;
  /** A ring of them; the first is shown. */
  apiKey: string;
  claims: Claims;
  log: Logger;
  signal: AbortSignal;
}) {
  const { log, signal } = options;
  const [key] = toRing(options.apiKey);
  const url = `${options.gatewayUrl}/api/v1/${options.type}/status/`;
  const dispatcher = new Agent({ connections: 8, pipelining: 1, keepAliveTimeout: 10_000, connectTimeout: 1_000 });
  const hurry = new AbortController();
  signal.addEventListener('abort', () => setTimeout(() => hurry.abort(), STOPPING_REPORT_FOR_MS).unref(), {
    once: true,
  });

  const post = createBatcher(
    async (reports: StatusReport[]): Promise<StatusReportAnswer[]> => {
      const response = await request(url, {
        method: 'POST',
        dispatcher,
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key.secret}` },
        body: JSON.stringify(reports),
        signal: signal.aborted
          ? AbortSignal.timeout(STOPPING_REPORT_FOR_MS)
          : AbortSignal.any([AbortSignal.timeout(REPORT_FOR_MS), hurry.signal]),
      });
      const body: unknown = await response.body.json();
      if (response.statusCode !== 200)
        throw new Error(`the gateway answered ${response.statusCode}: ${JSON.stringify(body).slice(0, 500)}`);
      return body as StatusReportAnswer[];
    },
    // The commas and brackets count too.
    { maxItems: MAX_REPORTS, weigh: (report) => sizeOf(report) + 1, maxWeight: MAX_REPORTS_BYTES - 2 },
  );

  const tell = async (claim: Claim, report: StatusReport, until: number): Promise<boolean> => {
    for (;;) {
      try {
        const { code, message } = await post(report);
        if (code !== 200) log.warn({ ...idsOf(claim), code, why: message }, 'the report was not taken');
        return true;
      } catch (error) {
        if (Date.now() + REPORT_PAUSE_MS >= until || signal.aborted) {
          log.warn(
            { err: error, ...idsOf(claim) },
            'the gateway takes no reports; the outcome is kept in the database',
          );
          return false;
        }
        await wait(REPORT_PAUSE_MS * (0.5 + Math.random()));
      }
    }
  };

  const keep = async (claim: Claim, kept: KeptOutcome): Promise<boolean> => {
    try {
      return await options.claims.keepOutcome(kept);
    } catch (error) {
      log.error({ err: error, ...idsOf(claim) }, 'neither the gateway nor PostgreSQL takes the outcome; trying on');
      return false;
    }
  };

  const release = async (claim: Claim): Promise<boolean> => {
    try {
      return await options.claims.release({ id: claim.id, token: claim.token });
    } catch (error) {
      log.error({ err: error, ...idsOf(claim) }, 'PostgreSQL does not take back a claim; trying on');
      return false;
    }
  };

  return {
    /** Resolves when the outcome is recorded somewhere, or when the process must end. */
    async report(claim: Claim, said: Outcome): Promise<void> {
      const outcome = cut(said);
      const report = toReport(claim, outcome);
      while (!(await tell(claim, report, Date.now() + REPORT_FOR_MS))) {
        // Without an attempt there is no row to keep it in, and nothing was sent: the notification is due again.
        if (outcome.hasAttempt ? await keep(claim, toKept(claim, outcome)) : await release(claim)) return;
        if (signal.aborted) return;
        await wait(1_000 * Math.random());
      }
    },
    /** Gives back a claim of which there is nothing to report. Resolves as `report` does. */
    async giveBack(claim: Claim): Promise<void> {
      while (!(await release(claim)) && !signal.aborted) await wait(1_000 * Math.random());
    },
    stop: () => dispatcher.close(),
  };
}

const idsOf = ({ id, correlationId }: Claim) => ({ notificationId: id, correlationId });

const sizeOf = (report: StatusReport) => Buffer.byteLength(JSON.stringify(report));

/** To what is taken and kept of it, or one long reply would refuse the reports that travel with it. */
const cut = (outcome: Outcome): Outcome => ({
  ...outcome,
  reason: outcome.reason?.slice(0, MAX_REASON) ?? null,
  retryAfterSeconds: outcome.retryAfterSeconds === null ? null : toRetryAfter(outcome.retryAfterSeconds),
  providerMessageId: outcome.providerMessageId?.slice(0, MAX_PROVIDER_MESSAGE_ID) ?? null,
});

const toReport = (claim: Claim, outcome: Outcome): StatusReport => ({
  notification_id: claim.id,
  status: toReportedStatus(outcome.class),
  timestamp: new Date().toISOString(),
  attempt: {
    token: claim.token,
    class: outcome.class,
    ...(outcome.reason !== null && { reason: outcome.reason }),
    ...(outcome.retryAfterSeconds !== null && { retry_after_seconds: outcome.retryAfterSeconds }),
    ...(outcome.provider !== null && { provider: outcome.provider }),
    ...(outcome.providerMessageId !== null && { provider_message_id: outcome.providerMessageId }),
    ...(outcome.results !== null && { results: outcome.results }),
  },
});

const toKept = (claim: Claim, outcome: Outcome): KeptOutcome => ({
  notification_id: claim.id,
  token: claim.token,
  class: outcome.class,
  reason: outcome.reason,
  retry_after_seconds: outcome.retryAfterSeconds,
  provider_message_id: outcome.providerMessageId,
  results: outcome.results,
});
