import { convert } from 'html-to-text';
import type { NotificationType } from '../../contracts/jobs.ts';
import { MESSAGE_LIMIT_BYTES, type EmailMessage, type Message, type PushToken } from '../../contracts/message.ts';
import { faultOfPayload, type PushContent } from '../../contracts/push-payload.ts';
import { renderLiquid, type LiquidMode } from '../../platform/liquid.ts';
import { refuse, refuseFaults, type Fault, type Refusal } from '../../platform/refusal.ts';

/** One language of a template's version. */
export type TemplateContent = { locale: string; email: EmailParts | null; push: PushParts | null };

export type EmailParts = { subject: string; html: string; text: string | null };

export type PushParts = {
  title: string;
  body: string;
  image: string | null;
  link: string | null;
  data: Record<string, unknown> | null;
  ttlSeconds: number | null;
  collapseKey: string | null;
};

/** What is rendered; of a send, or of a preview. */
export type ToRender = { type: NotificationType; variables: Record<string, unknown> };

/** Whom it is rendered for. */
export type RenderRecipient = { name: string; email: string | null; pushTokens: PushToken[] };

/** A message that is addressed to nobody yet. */
export type RenderedContent = Omit<EmailMessage, 'to'> | PushContent;

/**
 * Renders what will be sent, or refuses: no address, no content for the channel, a missing variable, too large.
 * @param unsubscribeUrl for an unsubscribable template: its mails have it as the variable unsubscribe_url
 */
export function renderMessage(
  send: ToRender,
  { name, email, pushTokens }: RenderRecipient,
  content: TemplateContent,
  unsubscribeUrl: string | null,
): Message | Refusal {
  const address = email ?? '';
  if (content[send.type] !== null && (send.type === 'email' ? address === '' : pushTokens.length === 0)) {
    const lacks = send.type === 'email' ? 'an e-mail address' : 'a push token';
    return refuse('UNPROCESSABLE', `userId names a user without ${lacks}`, 'userId', 'NO_ADDRESS');
  }
  const rendered = renderContent(send, content, unsubscribeUrl, new Set(pushTokens.map(({ kind }) => kind)));
  if ('kind' in rendered) return rendered;
  return rendered.type === 'email' ? { ...rendered, to: { name, address } } : { ...rendered, tokens: pushTokens };
}

/**
 * The same without a recipient, for a preview.
 * @param pushKinds the kinds of devices it goes to: a push message must be small enough for one of them
 */
export function renderContent(
  { type, variables }: ToRender,
  content: TemplateContent,
  unsubscribeUrl: string | null,
  pushKinds: ReadonlySet<PushToken['kind']>,
): RenderedContent | Refusal {
  const isLinked = type === 'email' && unsubscribeUrl !== null;
  const text = new TextRenderer(isLinked ? { ...variables, unsubscribe_url: unsubscribeUrl } : variables);
  const rendered =
    type === 'email'
      ? content.email && renderEmail(content.email, text, unsubscribeUrl)
      : content.push && renderPush(content.push, text);
  if (rendered === null) {
    const message = `templateCode names a template without ${type === 'email' ? 'e-mail' : 'push'} content`;
    return refuse('UNPROCESSABLE', message, 'templateCode', 'NO_CONTENT');
  }
  const [first, ...others] = text.faults;
  if (first !== undefined) return refuseFaults('UNPROCESSABLE', [first, ...others]);
  const tooLarge = rendered.type === 'email' ? faultOfMail(rendered) : faultOfPush(rendered, pushKinds);
  return tooLarge === null ? rendered : refuse('UNPROCESSABLE', tooLarge, 'variables', 'TOO_LARGE');
}

const faultOfMail = (mail: Omit<EmailMessage, 'to'>): string | null =>
  Buffer.byteLength(JSON.stringify(mail)) > MESSAGE_LIMIT_BYTES
    ? `variables make the message larger than ${MESSAGE_LIMIT_BYTES} bytes`
    : null;

/** Where one of several devices takes it, it goes to that one. */
function faultOfPush(push: PushContent, kinds: ReadonlySet<PushToken['kind']>): string | null {
  const faults = [...kinds].map((kind) => faultOfPayload(push, kind));
  return faults.includes(null) ? null : `variables make the message too large: ${faults.join('; ')}`;
}

function renderEmail(
  { subject, html: htmlTemplate, text: textTemplate }: EmailParts,
  text: TextRenderer,
  unsubscribeUrl: string | null,
): Omit<EmailMessage, 'to'> {
  const html = text.render(htmlTemplate, 'html');
  return {
    type: 'email',
    subject: text.line(subject),
    html,
    text: textTemplate === null ? toPlainText(html) : text.render(textTemplate, 'plain'),
    unsubscribeUrl,
  };
}

/** For those who read no HTML, and for filters that distrust mails without text. */
const toPlainText = (html: string): string =>
  convert(html, {
    wordwrap: 78,
    selectors: [
      ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({ selector, options: { uppercase: false } })),
      { selector: 'a', options: { hideLinkHrefIfSameAsText: true } },
      { selector: 'img', format: 'skip' },
    ],
  });

const renderPush = (
  { title, body, image, link, data, ttlSeconds, collapseKey }: PushParts,
  text: TextRenderer,
): PushContent => ({
  type: 'push',
  title: text.line(title),
  body: text.render(body, 'plain'),
  image: image === null ? null : text.line(image),
  link: link === null ? null : text.line(link),
  data,
  ttlSeconds,
  collapseKey: collapseKey === null ? null : text.line(collapseKey),
});

/** Renders the parts of one message and collects what is missing in any of them. */
class TextRenderer {
  readonly faults: Fault[] = [];
  readonly #variables: Record<string, unknown>;

  constructor(variables: Record<string, unknown>) {
    this.#variables = variables;
  }

  render(text: string, mode: LiquidMode): string {
    const rendered = renderLiquid(text, this.#variables, mode);
    switch (rendered.kind) {
      case 'rendered':
        return rendered.text;
      case 'missing':
        this.#add({
          field: `variables.${rendered.variable}`,
          code: 'MISSING_VARIABLE',
          message: `variables.${rendered.variable} is required by the template`,
        });
        return '';
      case 'failed':
        this.#add({
          field: 'variables',
          code: 'RENDER_FAILED',
          message: `variables can't be rendered: ${rendered.message}`,
        });
        return '';
    }
  }

  /** One line: a line break in a variable must not end a mail header. */
  line(text: string): string {
    return this.render(text, 'plain')
      .replace(/[\s\p{Cc}]+/gu, ' ')
      .trim();
  }

  #add(fault: Fault) {
    if (!this.faults.some(({ field }) => field === fault.field)) this.faults.push(fault);
  }
}
