/**
 * Reads a Retry-After header, seconds or a date (RFC 9110, section 10.2.3).
 * @returns whole seconds from `now`, at least 0; undefined when there is no such header or it says nothing
 */
export function parseRetryAfter(header: string | undefined, now: Date = new Date()): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) return Number(text);
  // A date has letters; Date.parse would take numbers such as -5 for years.
  const at = /^[A-Za-z]/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - now.getTime()) / 1_000));
}
