import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** Variables that hold a key, or the path of a file that does. */

const readKeyFile = (path: string, context: z.RefinementCtx): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    context.addIssue(`names a file that can't be read: ${error instanceof Error ? error.message : String(error)}`);
    return z.NEVER;
  }
};

/** The path of a PEM file with certificates to trust instead of the public authorities. */
export const pemFile = z.string().transform(readKeyFile).optional();

/** A private key: PEM, or the path of a file with it. */
export const privateKey = z
  .string()
  .transform((text, context) =>
    text.includes('-----BEGIN') ? text.replaceAll('\\n', '\n') : readKeyFile(text, context),
  );

const serviceAccountSchema = z.object({
  project_id: z.string(),
  client_email: z.string(),
  private_key: z.string(),
  token_uri: z.string().optional(),
});

/** A service account of Google: its JSON, or the path of the file with it. */
export const serviceAccount = z
  .string()
  .transform((text, context) => {
    const parsed = serviceAccountSchema.safeParse(
      toJson(text.trimStart().startsWith('{') ? text : readKeyFile(text, context)),
    );
    if (parsed.success) return parsed.data;
    context.addIssue(
      'must be the JSON of a service account, or the path of the file with it: project_id, client_email, private_key',
    );
    return z.NEVER;
  })
  .describe('the service account that may send, as JSON, or the path of the file with it');

function toJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
