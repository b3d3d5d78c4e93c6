import { Readable } from 'node:stream';
import { Agent, request } from 'undici';
import { createClient, type Document } from '../client/client.ts';
import type { Part } from './herald-parts.ts';

/** Herald's public doors and the mailbox, as a caller and a recipient use them. */
export function openDoors({
  urlOf,
  apiKey,
  mailboxUrl,
}: {
  urlOf: (part: Part) => string;
  apiKey: string;
  mailboxUrl: string;
}) {
  const dispatcher = new Agent({ keepAliveTimeout: 1_000 });
  const get = async (url: string): Promise<Json> => (await request(url, { dispatcher })).body.json();

  return {
    /**
     * Asks a REST path with the admin's key. A path goes to the service it belongs to, a whole URL wherever it says.
     * @param body an object goes as JSON, text as it is, a stream in its chunks
     * @param headers further ones; undefined takes a usual one away
     */
    async rest(method: Method, path: string, body?: unknown, headers: Headers = {}): Promise<RestAnswer> {
      const sent: Headers = {
        authorization: `Bearer ${apiKey}`,
        'content-type': body === undefined ? undefined : 'application/json',
        ...headers,
      };
      const response = await request(path.startsWith('http') ? path : `${urlOf(serviceOf(path))}${path}`, {
        method,
        dispatcher,
        headers: Object.fromEntries(Object.entries(sent).filter(([, value]) => value !== undefined)),
        body: body === undefined || typeof body === 'string' || body instanceof Readable ? body : JSON.stringify(body),
      });
      const text = await response.body.text();
      const isJson = /json/.test(String(response.headers['content-type']));
      return { status: response.statusCode, headers: response.headers, body: isJson ? JSON.parse(text) : text };
    },

    /** Runs one of the client's operations at the gateway. */
    graphql: <Result, Variables>(document: Document<Result, Variables>, variables: Variables): Promise<Result> =>
      createClient({ url: urlOf('gateway'), apiKey }).request(document, variables),

    /** Every mail that came in, newest first, whole. */
    async mails(): Promise<Mail[]> {
      const { messages } = await get(`${mailboxUrl}/api/v1/messages?limit=1000`);
      return Promise.all(messages.map(({ ID }: Mail) => get(`${mailboxUrl}/api/v1/message/${ID}`)));
    },

    /** One of them as it came over SMTP. */
    rawMail: async (id: string): Promise<string> => (await fetch(`${mailboxUrl}/api/v1/message/${id}/raw`)).text(),

    /** Every push message that the sandbox got, newest first. */
    async pushes(): Promise<Push[]> {
      return (await get(`${mailboxUrl}/api/v1/push?limit=1000`)).messages;
    },

    close: () => dispatcher.close(),
  };
}

const serviceOf = (path: string): Part =>
  path.startsWith('/api/v1/users') ? 'user' : path.startsWith('/api/v1/templates') ? 'template' : 'gateway';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type Headers = Record<string, string | undefined>;

export type RestAnswer = { status: number; headers: Record<string, string | string[] | undefined>; body: Json };

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- until an expectation has named what is in it
type Json = any;

/** In Mailpit's field names, as all of the mailbox. */
export type Mail = {
  ID: string;
  MessageID: string;
  From: { Name: string; Address: string };
  To: { Name: string; Address: string }[];
  Subject: string;
  Text: string;
  HTML: string;
};

export type Push = {
  NotificationID: string;
  Tokens: string[];
  Title: string;
  Body: string;
  Link: string | null;
  Data: Record<string, unknown>;
};
