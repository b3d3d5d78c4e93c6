import { type PushTokenKind } from '../../contracts/message.ts';
import { isRefusal, type Refusal } from '../../platform/refusal.ts';
import { toCanonicalEmail } from '../../platform/text.ts';
import type { RenderedContent } from '../rendering/render-message.ts';
import { noSuchUser, type chooseFor } from './examine-send.ts';
import type { Obstacles, SuppressionWords, TargetKey } from './find-obstacles.ts';
import type { ParsedSend } from './parse-send.ts';
import type { PublishedTemplate, RecipientAtSend } from './peers.ts';
import type { ProviderRow } from './store.ts';

/** What was found out about a send; null: it could not be. */
export type Found = {
  send: ParsedSend;
  recipient: RecipientAtSend | null;
  template: PublishedTemplate | null;
  chosen: ReturnType<typeof chooseFor>;
  message: RenderedContent | Refusal | null;
  targets: Target[];
  obstacles: Obstacles;
  /** Of the channel, in the order in which they are tried. */
  providers: ProviderRow[];
  isBrokerUp: boolean;
};

/** Every check of a new send, in order, with what it found in a sentence. */
export function checkSend({ send, recipient, template, chosen, message, targets, ...world }: Found): Check[] {
  const outcomes: Record<CheckName, Outcome> = {
    REQUEST_ID: pass('This requestId is new.'),
    SCHEDULE: checkSchedule(send),
    USER: recipient === null ? fail(sentence(noSuchUser.message)) : pass(`${recipient.name} is known.`),
    TEMPLATE:
      template === null
        ? fail('There is no such template, or none of its versions is published.')
        : pass(`Version ${template.number} is published.`),
    CONTENT:
      recipient === null || template === null
        ? skipped('USER or TEMPLATE')
        : checkContent(send, template.defaultLocale, chosen),
    VARIABLES: checkVariables(message),
    SUPPRESSION: checkSuppression(send, recipient, world.obstacles),
    PREFERENCE: checkPreference(send, recipient),
    ADDRESS: checkAddress(send, recipient, targets),
    PROVIDER: checkProvider(send, targets, world.providers),
    QUEUE: world.isBrokerUp
      ? pass('The broker takes jobs.')
      : wait('The broker is away: what is accepted goes out when it is back.'),
  };
  return CHECKS.map((check) => ({ check, ...outcomes[check] }));
}

/** The checks of a send whose requestId says it all. */
export const failAtRequestId = (detail: string): Check[] =>
  CHECKS.map((check) => ({ check, ...(check === 'REQUEST_ID' ? fail(detail) : skipped('REQUEST_ID')) }));

function checkSchedule({ sendAt, expiresAt }: ParsedSend): Outcome {
  const until = expiresAt === null ? '' : ` It would expire at ${expiresAt.toISOString()}.`;
  return sendAt !== null && sendAt > new Date()
    ? wait(`It would wait for its sendAt, ${sendAt.toISOString()}; all that follows is as of now.${until}`)
    : pass(`It would be due at once.${until}`);
}

function checkContent(
  { type, locale: asked }: ParsedSend,
  defaultLocale: string,
  chosen: ReturnType<typeof chooseFor>,
): Outcome {
  if (chosen === null) return fail(`The template has no content in ${defaultLocale}, its default language.`);
  const { content, source } = chosen;
  const { locale } = content;
  const why = {
    ASKED: 'as the send asks',
    ASKED_LANGUAGE: `the template has no ${asked}, which the send asks for`,
    USER: "the user's",
    USER_LANGUAGE: "the user's, without its region",
    TEMPLATE_DEFAULT: "the template's default: it has none that was asked for",
  }[source];
  return content[type] === null
    ? fail(`The template has no ${type === 'email' ? 'e-mail' : 'push'} content in ${locale} (${why}).`)
    : pass(`The language is ${locale}: ${why}.`);
}

function checkVariables(message: RenderedContent | Refusal | null): Outcome {
  if (message === null || (isRefusal(message) && message.faults[0]?.field === 'templateCode'))
    return skipped('CONTENT');
  return isRefusal(message) ? fail(sentence(message.message)) : pass('The message can be rendered.');
}

function checkSuppression(
  { type, templateCode }: ParsedSend,
  recipient: RecipientAtSend | null,
  { suppression }: Obstacles,
): Outcome {
  if (recipient === null) return skipped('USER');
  return suppression === null
    ? pass(`The user is not suppressed for ${NAMES[type]}, nor for this template.`)
    : fail(`The user is suppressed for ${NAMES[type]} of ${templateCode}: ${wordsOf(suppression)}.`);
}

function checkPreference({ type }: ParsedSend, recipient: RecipientAtSend | null): Outcome {
  if (recipient === null) return skipped('USER');
  return recipient.preferences[type]
    ? pass(`The user allows ${NAMES[type]}.`)
    : fail(`The user has switched ${NAMES[type]} off.`);
}

function checkAddress({ type }: ParsedSend, recipient: RecipientAtSend | null, targets: Target[]): Outcome {
  if (recipient === null) return skipped('USER');
  const reached = targets.filter(({ state }) => state === 'REACHABLE').length;
  if (type === 'push') {
    const said = `${reached} of ${countOf(targets.length, 'device')} can be reached.`;
    return reached > 0 ? pass(said) : fail(targets.length === 0 ? 'The user has no device.' : said);
  }
  const [target] = targets;
  if (target === undefined) return fail('The user has no e-mail address.');
  return target.state === 'REACHABLE'
    ? pass(`${target.target} can be reached.`)
    : fail(`Nothing is sent to ${target.target}: ${target.detail}.`);
}

function checkProvider({ type }: ParsedSend, targets: Target[], providers: ProviderRow[]): Outcome {
  const reached = targets.filter(({ state }) => state === 'REACHABLE');
  if (reached.length === 0) return skipped('ADDRESS');
  if (providers.length === 0)
    return wait(`No ${type} worker has been heard of for a minute: it would wait until one is there.`);
  const takers = providers.filter(({ name }) => reached.some(({ kind }) => takes(name, kind)));
  if (takers.length === 0)
    return fail(`No provider that is set up takes ${[...new Set(reached.map(({ kind }) => kind))].join(' or ')}.`);
  const states = takers.map(stateOf).join('; ');
  return reached.some(({ provider }) => provider !== null)
    ? pass(`In the order in which they are tried: ${states}.`)
    : wait(`It would wait for a provider: ${states}.`);
}

/** As a worker's `takes`: a provider of push messages is named for the kind of device that it reaches. */
const takes = (provider: string, kind: Target['kind']) =>
  kind === 'email' || provider === 'sandbox' || provider === kind;

/** As the worst-off of its workers sees it. */
export function stateOf({ name, state, reason, changedAt, isTaking }: ProviderRow): string {
  if (state === 'closed') return `${name} takes messages`;
  const why = reason === null ? '' : ` (${reason})`;
  const others = isTaking && state !== 'half_open' ? ', but not for all workers' : '';
  return `${name} is ${STATES[state] ?? state} since ${changedAt.toISOString()}${why}${others}`;
}

const STATES: Record<string, string> = {
  half_open: 'being tried with one message',
  open: 'resting after failures',
  paused: 'paused, because its configuration is wrong,',
};

export type FoundTarget = { key: TargetKey; kind: Target['kind'] };

export const toTargets = ({ type }: ParsedSend, { email, pushTokens }: RecipientAtSend): FoundTarget[] =>
  type === 'push'
    ? pushTokens.map(({ id, token, kind }) => ({ key: { id, token }, kind }))
    : email === null
      ? []
      : [{ key: { id: toCanonicalEmail(email), address: toCanonicalEmail(email) }, kind: 'email' }];

export function judgeTargets(
  { type }: ParsedSend,
  { deadTokens }: RecipientAtSend,
  targets: FoundTarget[],
  { unreachable }: Obstacles,
  providers: ProviderRow[],
): Target[] {
  const found = targets.map(({ key: { id }, kind }): Target => {
    const hindrance = unreachable.find((other) => other.id === id);
    if (hindrance === undefined) {
      const provider = providers.find((one) => takes(one.name, kind) && one.isTaking)?.name ?? null;
      return { target: id, kind, state: 'REACHABLE', detail: null, provider };
    }
    const detail = hindrance.suppression ? wordsOf(hindrance.suppression) : 'its provider does not know it any more';
    return { target: id, kind, state: hindrance.why === 'dead' ? 'DEAD' : 'SUPPRESSED', detail, provider: null };
  });
  const dead = deadTokens.map(({ id, kind, deadAt }): Target => ({
    target: id,
    kind: kind as PushTokenKind,
    state: 'DEAD',
    detail: `its provider does not know it any more, since ${deadAt}`,
    provider: null,
  }));
  return type === 'push' ? [...found, ...dead] : found;
}

/** When it was suppressed, by whom, and why. */
export function wordsOf({ reason, createdBy, createdAt }: SuppressionWords): string {
  const by = createdBy === null ? '' : ` by ${createdBy}`;
  return `suppressed${by} at ${createdAt.toISOString()}${reason === null ? '' : `, ${reason}`}`;
}

const NAMES = { email: 'e-mails', push: 'push messages' } as const;

export const countOf = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;

export const sentence = (text: string) => (/[.!?]$/.test(text) ? text : `${text}.`);

const pass = (detail: string) => ({ result: 'PASS' as const, detail });
const wait = (detail: string) => ({ result: 'WAIT' as const, detail });
const fail = (detail: string) => ({ result: 'FAIL' as const, detail });
const skipped = (before: string) => ({ result: 'SKIPPED' as const, detail: `Not looked at, because of ${before}.` });

export type Check = { check: CheckName; result: 'PASS' | 'WAIT' | 'FAIL' | 'SKIPPED'; detail: string };

/** In the order in which they are made: those that refuse a send, then those of a worker. */
const CHECKS = [
  'REQUEST_ID',
  'SCHEDULE',
  'USER',
  'TEMPLATE',
  'CONTENT',
  'VARIABLES',
  'SUPPRESSION',
  'PREFERENCE',
  'ADDRESS',
  'PROVIDER',
  'QUEUE',
] as const;
export type CheckName = (typeof CHECKS)[number];

export type Target = {
  /** The e-mail address, or the id of a push token. */
  target: string;
  kind: 'email' | PushTokenKind;
  state: 'REACHABLE' | 'SUPPRESSED' | 'DEAD';
  detail: string | null;
  /** The name of the one that would take it now. */
  provider: string | null;
};

type Outcome = Omit<Check, 'check'>;
