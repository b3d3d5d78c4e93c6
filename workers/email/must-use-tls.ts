/**
 * Whether mail may go only after STARTTLS. On 587 a server speaks plainly until it is asked for TLS (RFC 8314, section 3.3);
 * one on this machine may have no certificate.
 * @param url smtp:// or smtps://, which is TLS from the first byte
 */
export function mustUseTls(url: string): boolean {
  const { protocol, hostname, port } = new URL(url);
  // Without a port nodemailer takes 587.
  return protocol === 'smtp:' && (port === '587' || port === '') && !LOOPBACK.test(hostname);
}

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;
