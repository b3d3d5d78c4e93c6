import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import { toRing } from '../../platform/secret-ring.ts';
import { isUuid, toUuid } from '../../platform/text.ts';

/** Whose mails of which template a link ends. */
export type Unsubscription = { userId: string; templateCode: string };

/**
 * Makes and reads the links that end a template's mails for one user: sealed, so that they tell nothing and nobody can make one
 * up. They hold for as long as the secret that made them is in the ring.
 * @param publicUrl the gateway's, as recipients reach it
 */
export function createUnsubscribeLinks(secrets: string, publicUrl: string) {
  const keyFor = (secret: string, use: string) =>
    Buffer.from(hkdfSync('sha256', secret, '', `unsubscribe-link ${use}`, 32));
  const [newest, ...older] = toRing(secrets);
  const [sealKey, nonceKey] = [keyFor(newest.secret, 'seal'), keyFor(newest.secret, 'nonce')];
  const openKeys = [sealKey, ...older.map(({ secret }) => keyFor(secret, 'seal'))];

  const toToken = ({ userId, templateCode }: Unsubscription): string => {
    const plain = Buffer.concat([Buffer.from(userId.replaceAll('-', ''), 'hex'), Buffer.from(templateCode)]);
    // Made from the text, not drawn: two texts never share a nonce, however many links there are.
    const nonce = createHmac('sha256', nonceKey).update(plain).digest().subarray(0, NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', sealKey, nonce);
    return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString('base64url');
  };

  return {
    toUrl: (unsubscription: Unsubscription): string => `${publicUrl}/unsubscribe/${toToken(unsubscription)}`,

    /** Null when the token was not made here, or damaged on its way. */
    parseToken(token: string): Unsubscription | null {
      const bytes = Buffer.from(token, 'base64url');
      if (bytes.length <= NONCE_BYTES + UUID_BYTES + TAG_BYTES) return null;
      for (const key of openKeys) {
        const plain = open(bytes, key);
        if (plain === null) continue;
        const userId = toUuid(plain.toString('hex', 0, UUID_BYTES));
        return isUuid(userId) ? { userId, templateCode: plain.toString('utf8', UUID_BYTES) } : null;
      }
      return null;
    },
  };
}

/** Null when another key sealed it. */
function open(bytes: Buffer, key: Buffer): Buffer | null {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    return null;
  }
}

const UUID_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export type UnsubscribeLinks = ReturnType<typeof createUnsubscribeLinks>;
