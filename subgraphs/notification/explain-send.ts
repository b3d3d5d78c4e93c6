import type { FailureReason } from '../../contracts/failure-reason.ts';
import { PUSH_TOKEN_KINDS, type PushTokenKind } from '../../contracts/message.ts';
import type { Pool } from '../../platform/postgres.ts';
import { isRefusal, type Refusal } from '../../platform/refusal.ts';
import type { Viewer } from '../../platform/trust.ts';
import type { SubgraphContext } from '../serve.ts';
import type { LocaleSource } from '../rendering/choose-locale.ts';
import { renderContent, type RenderedContent } from '../rendering/render-message.ts';
import { chooseFor, examineSend, noSuchUser, orUnavailable, type Examined } from './examine-send.ts';
import { findObstacles, type Obstacles } from './find-obstacles.ts';
import type { SendNotificationInput } from './generated/graphql.ts';
import { mayKnowWords, withoutReason, withoutWords } from './operators-words.ts';
import { parseSend, type ParsedSend } from './parse-send.ts';
import type { Asked, Peers, RecipientAtSend } from './peers.ts';
import {
  checkSend,
  failAtRequestId,
  judgeTargets,
  sentence,
  toTargets,
  countOf,
  type Check,
  type CheckName,
  type FoundTarget,
  type Target,
} from './send-checks.ts';
import type { NotificationRow, NotificationStore, ProviderRow } from './store.ts';
import type { UnsubscribeLinks } from './unsubscribe-link.ts';

export type ExplainDependencies = {
  pool: Pool;
  store: NotificationStore;
  peers: Peers;
  links: UnsubscribeLinks;
  isBrokerUp: () => boolean;
};

/** What would become of a send now. The names of enum values are the graph's. */
export type Explanation = {
  kind: 'explanation';
  verdict: 'WOULD_SEND' | 'WOULD_WAIT' | 'WOULD_FAIL' | 'WOULD_BE_REFUSED' | 'ALREADY_ACCEPTED';
  reason: string;
  failureReason: FailureReason | null;
  refusal: Refusal | null;
  checks: Check[];
  /** The first one, when the requestId is known. */
  notification: NotificationRow | null;
  locale: string | null;
  localeSource: LocaleSource | null;
  templateVersion: number | null;
  message: RenderedContent | null;
  missingVariables: string[];
  targets: Target[];
  providers: ProviderRow[];
  dueAt: Date | null;
  expiresAt: Date | null;
};

/**
 * Says what would become of a send, and why, by the code that would accept it and by what a worker would find. Nothing is stored.
 * @returns a refusal for an input that is out of its bounds, and when a service is away
 */
export async function explainSend(
  deps: ExplainDependencies,
  input: SendNotificationInput,
  { viewer, requestId, trace, deadline }: SubgraphContext,
): Promise<Explanation | Refusal> {
  const send = parseSend(input);
  if (send.kind === 'refused') return send;
  return orUnavailable(explain(deps, send, viewer, { requestId, trace, deadline }));
}

async function explain(
  { pool, store, peers, links, isBrokerUp }: ExplainDependencies,
  send: ParsedSend,
  viewer: Viewer,
  asking: Omit<Asked, 'key'>,
): Promise<Explanation | Refusal> {
  // A preview's link must end nothing; it is as long as the real one, for the sake of what the message may weigh.
  const toUnsubscribeUrl = () => links.toUrl(send).replace(/[^/]+$/, (token) => 'x'.repeat(token.length));
  const world = { store, ...peers, findRecipient: peers.findRecipientAtSend, toUnsubscribeUrl };
  const examined = await examineSend(world, send, { clientId: viewer.id, ...asking });
  switch (examined.kind) {
    case 'refused':
      return examined.code === 'CONFLICT' ? explainRefusal(examined) : examined;
    case 'sent':
      return explainKnown(examined.notification);
    case 'examined': {
      const targets = examined.recipient === null ? [] : toTargets(send, examined.recipient);
      const [obstacles, providers] = await Promise.all([
        findObstacles(pool, { ...send, targets: targets.map(({ key }) => key) }),
        store.findProviders(),
      ]);
      const url = examined.template?.unsubscribable ? toUnsubscribeUrl() : null;
      const mine = providers.filter(({ type }) => type === send.type);
      const found = { targets, obstacles, providers: mine, isBrokerUp: isBrokerUp() };
      return explainNew(send, examined, mayKnowWords(viewer) ? found : withholdWords(found), url);
    }
  }
}

type World = {
  targets: FoundTarget[];
  obstacles: Obstacles;
  providers: ProviderRow[];
  isBrokerUp: boolean;
};

const withholdWords = ({ obstacles, providers, ...found }: World): World => ({
  ...found,
  obstacles: {
    ...obstacles,
    suppression: withoutWords(obstacles.suppression),
    unreachable: obstacles.unreachable.map((one) => ({ ...one, suppression: withoutWords(one.suppression) })),
  },
  providers: providers.map(withoutReason),
});

function explainNew(
  send: ParsedSend,
  { template, ...examined }: Examined<RecipientAtSend>,
  { obstacles, providers, isBrokerUp, ...world }: World,
  unsubscribeUrl: string | null,
): Explanation {
  // Deleted a moment ago: storing it would find out.
  const recipient = obstacles.isErased ? null : examined.recipient;
  const result = obstacles.isErased ? noSuchUser : examined.result;
  const chosen = recipient === null || template === null ? null : chooseFor(send, recipient, template);
  const message = isRefusal(result)
    ? chosen && template
      ? renderContent(
          send,
          { content: chosen.content, declaredVariables: template.declaredVariables, unsubscribeUrl },
          new Set(kindsOf(recipient)),
        )
      : null
    : result.message;
  const targets = recipient === null ? [] : judgeTargets(send, recipient, world.targets, obstacles, providers);
  const checks = checkSend({ send, recipient, template, chosen, message, targets, obstacles, providers, isBrokerUp });
  const dueAt = send.sendAt !== null && send.sendAt > new Date() ? send.sendAt : new Date();
  return {
    ...NOTHING,
    ...(isRefusal(result) ? toRefused(result) : judge(send, checks, targets)),
    checks,
    locale: chosen?.content.locale ?? null,
    localeSource: chosen?.source ?? null,
    templateVersion: template?.number ?? null,
    message: isRefusal(message) ? null : message,
    missingVariables: missingIn(message),
    targets,
    providers,
    dueAt: isRefusal(result) ? null : dueAt,
    expiresAt: send.expiresAt,
  };
}

/** What the checks come to when nothing refuses the send. */
function judge(
  send: ParsedSend,
  checks: Check[],
  targets: Target[],
): Pick<Explanation, 'verdict' | 'reason' | 'failureReason'> {
  const failed = checks.find(({ result }) => result === 'FAIL');
  if (failed !== undefined)
    return { verdict: 'WOULD_FAIL', reason: failed.detail, failureReason: toFailureReason(failed.check, targets) };
  const waits = checks.filter(({ result }) => result === 'WAIT');
  if (waits.length > 0)
    return { verdict: 'WOULD_WAIT', reason: waits.map(({ detail }) => detail).join(' '), failureReason: null };
  const reached = targets.filter(({ state }) => state === 'REACHABLE');
  const to = send.type === 'email' ? (reached[0]?.target ?? '') : countOf(reached.length, 'device');
  const by = [...new Set(reached.flatMap(({ provider }) => provider ?? []))].join(' and ');
  return { verdict: 'WOULD_SEND', reason: `It would go out at once, to ${to}, by ${by}.`, failureReason: null };
}

/** As a worker would report it. */
function toFailureReason(check: CheckName, targets: Target[]): FailureReason {
  if (check === 'SUPPRESSION') return 'SUPPRESSED';
  if (check === 'PREFERENCE') return 'PREFERENCE_DISABLED';
  if (check !== 'ADDRESS') return 'REJECTED';
  return targets.some(({ state }) => state === 'SUPPRESSED') ? 'SUPPRESSED' : 'ADDRESS_DEAD';
}

const toRefused = (refusal: Refusal) => ({
  verdict: 'WOULD_BE_REFUSED' as const,
  reason: sentence(refusal.message),
  refusal,
});

const explainRefusal = (refusal: Refusal): Explanation => ({
  ...NOTHING,
  ...toRefused(refusal),
  checks: failAtRequestId(sentence(refusal.message)),
});

function explainKnown(notification: NotificationRow): Explanation {
  const reason = `This requestId was accepted at ${notification.createdAt.toISOString()}: the answer would be that notification, and nothing new would be sent.`;
  return { ...NOTHING, verdict: 'ALREADY_ACCEPTED', reason, notification, checks: failAtRequestId(reason) };
}

const NOTHING: Explanation = {
  kind: 'explanation',
  verdict: 'WOULD_BE_REFUSED',
  reason: '',
  failureReason: null,
  refusal: null,
  checks: [],
  notification: null,
  locale: null,
  localeSource: null,
  templateVersion: null,
  message: null,
  missingVariables: [],
  targets: [],
  providers: [],
  dueAt: null,
  expiresAt: null,
};

/** Without a device every kind is as good as another. */
const kindsOf = (recipient: RecipientAtSend | null): readonly PushTokenKind[] =>
  recipient === null || recipient.pushTokens.length === 0
    ? PUSH_TOKEN_KINDS
    : recipient.pushTokens.map(({ kind }) => kind);

const missingIn = (message: RenderedContent | Refusal | null): string[] =>
  isRefusal(message)
    ? message.faults.flatMap(({ field, code }) =>
        code === 'MISSING_VARIABLE' ? [field.replace('variables.', '')] : [],
      )
    : [];
