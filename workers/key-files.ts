import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { providerUrl } from '../platform/env.ts';

/** Variables that hold a key, or the path of a file that does. No fault tells the value: it may be the key. */

/** The path of a PEM file with certificates to trust instead of the public authorities. */
export const pemFile = z
  .string()
  .transform((path, context) => readKeyFile(path, context, 'must be the path of a readable file'))
  .optional();

/** A private key: PEM, or the path of a file with it. */
export const privateKey = z
  .string()
  .transform((text, context) =>
    text.includes('-----BEGIN') ? text.replaceAll('\\n', '\n') : readKeyFile(text, context, KEY_OR_PATH),
  );

const serviceAccountSchema = z.object({
  project_id: z.string(),
  client_email: z.string(),
  private_key: z.string(),
  // The account's signature goes there.
  token_uri: providerUrl,
});

/** A service account of Google: its JSON, that as base64, or the path of the file with it. */
export const serviceAccount = z
  .string()
  .transform((text, context) => {
    const parsed = serviceAccountSchema.safeParse(
      toJson(text) ?? toJson(Buffer.from(text, 'base64').toString()) ?? readJsonFile(text, context),
    );
    if (parsed.success) return parsed.data;
    const badTokenUri = parsed.error.issues.find(({ path }) => path[0] === 'token_uri');
    if (badTokenUri !== undefined) context.addIssue(`its token_uri ${badTokenUri.message}`);
    else if (context.issues.length === 0)
      context.addIssue(
        'must be the JSON of a service account, or the path of the file with it: project_id, client_email, private_key',
      );
    return z.NEVER;
  })
  .describe('the service account that may send, as JSON or base64 of it, or the path of the file with it');

const readJsonFile = (text: string, context: z.RefinementCtx): unknown =>
  // Nobody's path begins so; it is JSON that lost something on its way.
  text.trimStart().startsWith('{') ? null : toJson(readKeyFile(text, context, KEY_OR_PATH));

function readKeyFile(path: string, context: z.RefinementCtx, rule: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    // The message of the error quotes the path.
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    context.addIssue(`${rule}${code}`);
    return z.NEVER;
  }
}

/** An object; anything else is no key. */
function toJson(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

const KEY_OR_PATH = 'must be the key itself, or the path of a readable file';
