import { createHash, createVerify, type KeyObject } from 'node:crypto';

/**
 * Checks the DKIM signature of a mail that was signed relaxed/relaxed (RFC 6376), with a key that is known.
 * @returns the names of the headers that the signature covers; null when it does not hold
 */
export function verifyDkim(source: string, publicKey: KeyObject): string[] | null {
  const [head = '', ...rest] = source.split('\r\n\r\n');
  const headers = head.split(/\r\n(?![ \t])/).map((line) => {
    const colon = line.indexOf(':');
    return { name: line.slice(0, colon).toLowerCase(), value: relax(line.slice(colon + 1)) };
  });
  const signature = headers.find(({ name }) => name === 'dkim-signature')?.value ?? '';
  const tag = (name: string) => new RegExp(`(?:^|; ?)${name}=([^;]*)`).exec(signature)?.[1]?.replace(/ /g, '') ?? '';

  const body = rest
    .join('\r\n\r\n')
    .replace(/[ \t]+(?=\r\n)/g, '')
    .replace(/[ \t]+/g, ' ')
    .replace(/(\r\n)*$/, '\r\n');
  if (createHash('sha256').update(body).digest('base64') !== tag('bh')) return null;

  const signed = tag('h').split(':');
  const lines = signed.map((name) => `${name}:${headers.find((header) => header.name === name)?.value ?? ''}`);
  const own = `dkim-signature:${signature.replace(/(^|; ?)b=[^;]*/, '$1b=')}`;
  const isValid = createVerify('sha256')
    .update([...lines, own].join('\r\n'))
    .verify(publicKey, tag('b'), 'base64');
  return isValid ? signed : null;
}

const relax = (value: string) =>
  value
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .trim();
