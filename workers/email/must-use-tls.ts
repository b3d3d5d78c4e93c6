import { isLoopback } from '../../platform/env.ts';

/**
 * Whether mail may go only after STARTTLS: always where a login goes along, and on 587, where a server speaks plainly until it
 * is asked for TLS (RFC 8314, section 3.3). One on this machine may have no certificate.
 * @param url smtp:// or smtps://, which is TLS from the first byte
 */
export function mustUseTls(url: string): boolean {
  const { protocol, hostname, port, username } = new URL(url);
  if (protocol !== 'smtp:' || isLoopback(hostname)) return false;
  // Without a port nodemailer takes 587.
  return username !== '' || port === '587' || port === '';
}
