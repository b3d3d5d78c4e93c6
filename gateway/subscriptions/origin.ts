import type { IncomingHttpHeaders } from 'node:http';

/**
 * Whether a page may connect: one of our own, or of an origin that is allowed. Browsers always say which page it is; whoever does not is
 * no browser. (A WebSocket is bound by no CORS, so this must be looked at here.)
 */
export function isOriginAllowed({ origin, host }: IncomingHttpHeaders, allowed: readonly string[]): boolean {
  if (origin === undefined || allowed.includes(origin)) return true;
  return URL.canParse(origin) && new URL(origin).host === host;
}
