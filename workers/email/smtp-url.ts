import { isLoopback, url } from '../../platform/env.ts';

/** Where mail is handed over: smtp://user:password@host:587, or smtps://. */
export const smtpUrl = url('smtp', 'smtps').refine(
  hasReadableLogin,
  'must have its user and password percent-encoded: a % in them is %25, an @ is %40',
);

/** The same for a server that gets an access token: TLS from the first byte, or this machine. */
export const tokenSmtpUrl = url('smtp', 'smtps').refine(
  (text) => URL.parse(text)?.protocol === 'smtps:' || isLoopback(URL.parse(text)?.hostname ?? ''),
  'must be an smtps:// URL, or an smtp:// URL of this machine',
);

function hasReadableLogin(text: string): boolean {
  const { username = '', password = '' } = URL.parse(text) ?? {};
  try {
    decodeURIComponent(username);
    decodeURIComponent(password);
    return true;
  } catch {
    return false;
  }
}
