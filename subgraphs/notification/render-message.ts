import { convert } from 'html-to-text';
import type { EmailMessage, Message, PushMessage } from '../../contracts/message.ts';
import { MESSAGE_LIMIT_BYTES } from '../../contracts/message.ts';
import { faultOfPayload } from '../../contracts/push-payload.ts';
import { renderLiquid, type LiquidMode } from '../../platform/liquid.ts';
import { refuse, refuseFaults, type Fault, type Refusal } from '../../platform/refusal.ts';
import type { ParsedSend } from './parse-send.ts';
import type { Recipient, TemplateContent } from './peers.ts';

/**
 * Renders what will be sent, or refuses: no address, no content for the channel, a missing variable, too large.
 * @param unsubscribeUrl for an unsubscribable template: its mails have it as the variable unsubscribe_url
 */
export function renderMessage(
  send: ParsedSend,
  recipient: Recipient,
  content: TemplateContent,
  unsubscribeUrl: string | null,
): Message | Refusal {
  const isLinked = send.type === 'email' && unsubscribeUrl !== null;
  const text = new TextRenderer(isLinked ? { ...send.variables, unsubscribe_url: unsubscribeUrl } : send.variables);
  const message =
    send.type === 'email'
      ? renderEmail(recipient, content, text, unsubscribeUrl)
      : renderPush(recipient, content, text);
  if ('kind' in message) return message;

  const [first, ...others] = text.faults;
  if (first !== undefined) return refuseFaults('UNPROCESSABLE', [first, ...others]);
  if (message.type === 'push') {
    const kinds = new Set(message.tokens.map(({ kind }) => kind));
    const faults = [...kinds].map((kind) => faultOfPayload(message, kind)).filter((fault) => fault !== null);
    // Where one of several devices takes it, it goes to that one.
    if (faults.length === kinds.size)
      return refuse(
        'UNPROCESSABLE',
        `variables make the message too large: ${faults.join('; ')}`,
        'variables',
        'TOO_LARGE',
      );
    return message;
  }
  const limit = MESSAGE_LIMIT_BYTES;
  if (Buffer.byteLength(JSON.stringify(message)) > limit) {
    return refuse('UNPROCESSABLE', `variables make the message larger than ${limit} bytes`, 'variables', 'TOO_LARGE');
  }
  return message;
}

function renderEmail(
  { name, email }: Recipient,
  content: TemplateContent,
  text: TextRenderer,
  unsubscribeUrl: string | null,
): EmailMessage | Refusal {
  if (content.email === null)
    return refuse(
      'UNPROCESSABLE',
      'templateCode names a template without e-mail content',
      'templateCode',
      'NO_CONTENT',
    );
  if (email === null)
    return refuse('UNPROCESSABLE', 'userId names a user without an e-mail address', 'userId', 'NO_ADDRESS');
  const html = text.render(content.email.html, 'html');
  return {
    type: 'email',
    to: { name, address: email },
    subject: text.line(content.email.subject),
    html,
    text: content.email.text === null ? toPlainText(html) : text.render(content.email.text, 'plain'),
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

function renderPush({ pushTokens }: Recipient, content: TemplateContent, text: TextRenderer): PushMessage | Refusal {
  if (content.push === null)
    return refuse('UNPROCESSABLE', 'templateCode names a template without push content', 'templateCode', 'NO_CONTENT');
  if (pushTokens.length === 0)
    return refuse('UNPROCESSABLE', 'userId names a user without a push token', 'userId', 'NO_ADDRESS');
  const { title, body, image, link, data, ttlSeconds, collapseKey } = content.push;
  return {
    type: 'push',
    tokens: pushTokens,
    title: text.line(title),
    body: text.render(body, 'plain'),
    image: image === null ? null : text.line(image),
    link: link === null ? null : text.line(link),
    data,
    ttlSeconds,
    collapseKey: collapseKey === null ? null : text.line(collapseKey),
  };
}

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
