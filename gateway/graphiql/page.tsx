import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import type {} from 'monaco-editor';
import { createRoot } from 'react-dom/client';

/** File names by Monaco's label of the worker; build.ts fills them in. */
declare const workerFiles: { editor: string; json: string; graphql: string };

const welcome = `# Welcome to Herald. Ctrl-Enter runs the query,
# the book on the left shows the schema.
#
# The address that "npm start" prints brings the
# admin's key along. Put another under "Headers":
#
#   { "Authorization": "Bearer <key>" }

query {
  __typename
}
`;

const KEY = 'herald:key';
const fetcher = createGraphiQLFetcher({ url: '/graphql' });

window.MonacoEnvironment = {
  getWorker: (_id, label) =>
    new Worker(`/graphiql/${workerFiles[label as keyof typeof workerFiles] ?? workerFiles.editor}`),
};

takeKeyFromAddress();

createRoot(document.getElementById('graphiql')!).render(
  <GraphiQL
    // GraphiQL asks for the schema before it has read its headers.
    fetcher={(request, options) => fetcher(request, { ...options, headers: withKey(options?.headers) })}
    defaultQuery={welcome}
    defaultEditorToolsVisibility="headers"
    shouldPersistHeaders
  />,
);

/** `/graphql#key=…`: kept for this browser and taken out of the address, which is never sent anywhere. */
function takeKeyFromAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get('key');
  if (key === null) return;
  localStorage.setItem(KEY, key);
  history.replaceState(null, '', location.pathname);
}

function withKey(headers: Record<string, string> = {}): Record<string, string> {
  const key = localStorage.getItem(KEY);
  const hasOwn = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization');
  return key === null || hasOwn ? headers : { Authorization: `Bearer ${key}`, ...headers };
}
