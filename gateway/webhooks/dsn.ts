/** What a delivery status notification says of one recipient; `action` and `status` as RFC 3464 names them. */
export type DsnRecipient = {
  /** Empty when it names none. */
  action: string;
  status: string | undefined;
  address: string | null;
  diagnostic: string | undefined;
};

export type Dsn =
  /** `messageId`: of the mail that it returns. */
  | { kind: 'dsn'; recipients: DsnRecipient[]; messageId: string | undefined; date: string | undefined }
  | { kind: 'other mail' }
  | { kind: 'no mail' };

/** Reads a mail as a delivery status notification (RFC 3464 in RFC 6522). */
export function parseDsn(mail: string): Dsn {
  const whole = parsePart(mail);
  if (whole.headers.size === 0) return { kind: 'no mail' };
  const parts = [...walk(whole, MAX_DEPTH)];
  const status = parts.find(({ type }) => STATUS_TYPES.includes(type));
  if (status === undefined) return { kind: 'other mail' };
  const returned = parts.find(({ type }) => RETURNED_TYPES.includes(type));
  // The first block is about the whole message, each further one about a recipient.
  const [, ...blocks] = status.body.split(/\n\s*\n/).filter((block) => block.trim() !== '');
  return {
    kind: 'dsn',
    recipients: blocks.map(toRecipient),
    messageId: returned === undefined ? undefined : parsePart(returned.body).headers.get('message-id'),
    date: whole.headers.get('date'),
  };
}

const MAX_DEPTH = 5;
const STATUS_TYPES = ['message/delivery-status', 'message/global-delivery-status'];
const RETURNED_TYPES = ['message/rfc822', 'text/rfc822-headers', 'message/global', 'message/global-headers'];

type Part = { headers: Map<string, string>; type: string; body: string };

function toRecipient(block: string): DsnRecipient {
  const fields = parseHeaders(block);
  const address = fields.get('original-recipient') ?? fields.get('final-recipient');
  return {
    action: fields.get('action')?.toLowerCase() ?? '',
    status: /^[245]\.\d{1,3}\.\d{1,3}/.exec(fields.get('status') ?? '')?.[0],
    address: withoutType(address)?.replace(/^<|>$/g, '') ?? null,
    diagnostic: withoutType(fields.get('diagnostic-code')),
  };
}

/** `rfc822; ada@example.com` and `smtp; 550 no such user` name first what they are. */
const withoutType = (field: string | undefined) => field?.replace(/^[\w-]+\s*;\s*/, '');

/** A part and all that is in it, in their order. */
function* walk(part: Part, depth: number): Generator<Part> {
  yield part;
  const boundary = /^multipart\//.test(part.type) ? boundaryOf(part) : undefined;
  if (boundary === undefined || depth === 0) return;
  const [, ...inner] = `\n${part.body}`.split(`\n--${boundary}`);
  for (const text of inner) {
    if (text.startsWith('--')) return;
    yield* walk(parsePart(text.replace(/^[^\n]*\n/, '')), depth - 1);
  }
}

const boundaryOf = ({ headers }: Part) => {
  const [, quoted, plain] = /;\s*boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(headers.get('content-type') ?? '') ?? [];
  return quoted ?? plain;
};

function parsePart(text: string): Part {
  const lines = text.replaceAll('\r\n', '\n');
  const end = lines.startsWith('\n') ? 0 : lines.indexOf('\n\n');
  const headers = parseHeaders(end === -1 ? lines : lines.slice(0, end));
  return {
    headers,
    type: (headers.get('content-type') ?? 'text/plain').split(';', 1)[0]?.trim().toLowerCase() ?? '',
    body: decode(end === -1 ? '' : lines.slice(end).replace(/^\n+/, ''), headers.get('content-transfer-encoding')),
  };
}

/** The first of each name counts. A pipe's `From ` line is none. */
function parseHeaders(text: string): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of text
    .replaceAll('\r\n', '\n')
    .replace(/\n[ \t]+/g, ' ')
    .split('\n')) {
    const [, name, value] = /^([!-9;-~]+):[ \t]*(.*)$/.exec(line) ?? [];
    if (name !== undefined && !headers.has(name.toLowerCase())) headers.set(name.toLowerCase(), value?.trim() ?? '');
  }
  return headers;
}

function decode(body: string, encoding = ''): string {
  switch (encoding.toLowerCase()) {
    case 'base64':
      return Buffer.from(body, 'base64').toString('utf8').replaceAll('\r\n', '\n');
    case 'quoted-printable':
      return Buffer.from(
        body
          .replace(/=\n/g, '')
          .replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
        'latin1',
      ).toString('utf8');
    default:
      return body;
  }
}
