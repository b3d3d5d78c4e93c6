import { type AddressObject, type Attachment, type ParsedMail, simpleParser } from 'mailparser';
import type { StoredMail } from './mail-store.ts';

const SNIPPET_LENGTH = 250;

type Address = { Name: string; Address: string };
type Part = { PartID: string; FileName: string; ContentType: string; ContentID: string; Size: number };

/** A mail in Mailpit's field names: as a row of the list, whole, and its headers by name. */
export type MailView = {
  summary: Record<string, unknown>;
  message: Record<string, unknown>;
  headers: Record<string, string[]>;
};

const views = new WeakMap<StoredMail, Promise<MailView>>();

/** Parses a mail at the first look at it, not when it comes in: the sender doesn't wait for that. */
export function viewMail(mail: StoredMail): Promise<MailView> {
  const view = views.get(mail) ?? parse(mail).then((parsed) => toView(mail, parsed));
  views.set(mail, view);
  return view;
}

/** The mail's HTML with its own images (cid:) put in place, to look at. */
export async function renderHtml({ raw }: StoredMail): Promise<string> {
  return (await simpleParser(raw, { skipHtmlToText: true, skipTextToHtml: true })).html || '';
}

const parse = ({ raw }: StoredMail): Promise<ParsedMail> =>
  simpleParser(raw, { skipHtmlToText: true, skipTextToHtml: true, skipImageLinks: true, checksumAlgo: false }).catch(
    // One mail that can't be parsed must not take the list away; its raw text still shows
    (error: unknown) => ({
      attachments: [],
      headers: new Map(),
      headerLines: [],
      subject: `(unreadable: ${String(error)})`,
      text: raw.toString(),
    }),
  );

function toView({ id, created, raw }: StoredMail, parsed: ParsedMail): MailView {
  const headers = toHeaders(parsed);
  const to = toAddresses(parsed.to);
  const cc = toAddresses(parsed.cc);
  const returnPath = (headers['Return-Path']?.[0] ?? '').replace(/^<|>$/g, '');
  const inline = parsed.attachments.filter(isInline);
  const attached = parsed.attachments.filter((attachment) => !isInline(attachment));
  const shared = {
    ID: id,
    MessageID: (parsed.messageId ?? '').replace(/^<|>$/g, ''),
    From: toAddresses(parsed.from)[0] ?? { Name: '', Address: returnPath },
    To: to,
    Cc: cc,
    Bcc: toBcc(parsed, headers['Delivered-To'] ?? [], [...to, ...cc]),
    ReplyTo: toAddresses(parsed.replyTo),
    Subject: parsed.subject ?? '',
    Size: raw.length,
  };
  const text = parsed.text ?? '';
  const html = parsed.html || '';
  return {
    summary: { ...shared, Created: created, Attachments: attached.length, Snippet: toSnippet(text || toText(html)) },
    message: {
      ...shared,
      ReturnPath: returnPath,
      Date: parsed.date ?? created,
      Text: text,
      HTML: html,
      Inline: inline.map(toPart),
      Attachments: attached.map(toPart),
    },
    headers,
  };
}

function toHeaders({ headerLines }: ParsedMail): Record<string, string[]> {
  const byName = new Map<string, { name: string; values: string[] }>();
  for (const { key, line: bytes } of headerLines) {
    const line = Buffer.from(bytes, 'latin1').toString(); // mailparser leaves these undecoded
    const colon = line.indexOf(':');
    const header = byName.get(key) ?? { name: line.slice(0, colon).trim(), values: [] };
    header.values.push(
      line
        .slice(colon + 1)
        .replace(/\r?\n(?=[ \t])/g, '')
        .trim(),
    );
    byName.set(key, header);
  }
  return Object.fromEntries([...byName.values()].map(({ name, values }) => [name, values]));
}

const toAddresses = (header: AddressObject | AddressObject[] | undefined): Address[] =>
  [header ?? []]
    .flat()
    .flatMap(({ value }) => value.flatMap((entry) => entry.group ?? entry))
    .map(({ name, address }) => ({ Name: name, Address: address ?? '' }));

/** Whoever got the mail without standing in it. */
function toBcc(parsed: ParsedMail, delivered: string[], visible: Address[]): Address[] {
  const bcc = toAddresses(parsed.bcc);
  const known = new Set([...visible, ...bcc].map(({ Address }) => Address.toLowerCase()));
  return [
    ...bcc,
    ...delivered
      .filter((address) => !known.has(address.toLowerCase()))
      .map((address) => ({ Name: '', Address: address })),
  ];
}

const isInline = ({ related, contentDisposition }: Attachment): boolean =>
  related === true || contentDisposition === 'inline';

const toPart = ({ partId, filename, contentType, cid, size }: Attachment): Part => ({
  PartID: partId ?? '',
  FileName: filename ?? '',
  ContentType: contentType,
  ContentID: cid ?? '',
  Size: size,
});

const toSnippet = (text: string): string => {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > SNIPPET_LENGTH ? `${line.slice(0, SNIPPET_LENGTH)}...` : line;
};

const ENTITIES: Record<string, string> = { nbsp: ' ', amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };

/** Good enough for a snippet. */
const toText = (html: string): string =>
  html
    .replace(/<(head|style|script|title)\b[^]*?<\/\1\s*>|<!--[^]*?-->|<[^>]*>/gi, ' ')
    .replace(/&(#?\w+);/g, (entity, name: string) => ENTITIES[name.toLowerCase()] ?? entity);
