import { z } from 'zod';
import { faultOfEmail } from '../../platform/text.ts';

/** The variable MAIL_FROM: `Herald <no-reply@example.com>`, or the address alone. */
export const mailFrom = z
  .string()
  .default('Herald <herald@localhost>')
  .transform((text, context) => {
    const [, name = '', address = text] = /^\s*"?([^"<]*?)"?\s*<([^>]+)>\s*$/.exec(text) ?? [];
    if (faultOfEmail(address.trim()) !== null)
      context.addIssue('must be an address such as Herald <no-reply@example.com>');
    return { name: name.trim(), address: address.trim() };
  });
