import type { Demo } from './seed.ts';

/** What `npm start` says when everything runs: where things are, and two commands to paste. */
export function renderWelcome({
  url,
  mailboxUrl,
  adminApiKey,
  demo,
  seconds,
}: {
  url: string;
  mailboxUrl: string;
  adminApiKey: string;
  demo: Demo;
  seconds: number;
}): string {
  const variables = { name: 'Ada', link: `${url}/graphql` };
  const rest = JSON.stringify({
    notification_type: 'email',
    user_id: demo.userId,
    template_code: demo.templateCode,
    variables,
    request_id: `rest-${UNIQUE}`,
  });
  const graph = JSON.stringify({
    query:
      'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate notification { id status user { name } } } }',
    variables: {
      input: {
        notificationType: 'EMAIL',
        userId: demo.userId,
        templateCode: demo.templateCode,
        variables,
        requestId: `graphql-${UNIQUE}`,
      },
    },
  });
  return `
Herald is ready (${seconds.toFixed(1)} s)

  GraphQL, and GraphiQL in a browser   ${url}/graphql#key=${encodeURIComponent(adminApiKey)}
  Statuses, as they change             ${url}/live#key=${encodeURIComponent(adminApiKey)}
  REST                                 ${url}/api/v1/notifications/
  Mailbox                              ${mailboxUrl}
  Admin API key                        ${adminApiKey}

Send ${demo.email} a mail over REST:

${toCurl(`${url}/api/v1/notifications/`, adminApiKey, rest)}

and one over GraphQL:

${toCurl(`${url}/graphql`, adminApiKey, graph)}

Ctrl-C stops it.
`;
}

const UNIQUE = 'UNIQUE';

/** Each paste gets a requestId of its own, or the second would be answered as a duplicate of the first: od is in every system. */
const RANDOM = `$(od -An -N8 -tx1 /dev/urandom | tr -d ' \\n')`;

const toCurl = (url: string, apiKey: string, body: string) =>
  [
    `curl -s -w '\\n' ${quote(url)}`,
    `-H 'content-type: application/json'`,
    `-H ${quote(`authorization: Bearer ${apiKey}`)}`,
    `-d ${quote(body).replace(UNIQUE, () => `'${RANDOM}'`)}`,
  ].join(' ');

/** For any shell: within single quotes only the quote itself means something. */
const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
