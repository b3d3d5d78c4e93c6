/** What the page says; `asks`: it has the button that acts. */
type Words = { title: string; text: string; asks?: boolean };

const WORDS = {
  ask: {
    title: 'Unsubscribe?',
    text: 'You will get no more mails of this kind. Other mails, such as a password reset, still reach you.',
    asks: true,
  },
  done: {
    title: 'You are unsubscribed',
    text: 'You will get no more mails of this kind. Other mails, such as a password reset, still reach you.',
  },
  unknown: {
    title: 'This link does not work',
    text: 'It is damaged or not one of ours. Open it again from the mail, whole, or copy all of it.',
  },
  away: {
    title: 'Not now, please try again',
    text: 'Something here is away for a moment, and nothing was changed. Try again in a minute.',
  },
} as const satisfies Record<string, Words>;

export type PageName = keyof typeof WORDS;

/** A whole HTML page without scripts. Its words are ours alone, so there is nothing to escape. */
export function renderPage(name: PageName): string {
  const { title, text, asks = false }: Words = WORDS[name];
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="robots" content="noindex">
    <title>${title}</title>
    <style>${STYLE}</style>
  </head>
  <body>
    <main>
      <h1>${title}</h1>
      <p>${text}</p>${asks ? FORM : ''}
    </main>
  </body>
</html>
`;
}

/** It posts to the page's own address: the token in it says all there is to say. */
const FORM = `
      <form method="post">
        <button>Unsubscribe</button>
      </form>`;

export const STYLE = `
:root { color-scheme: light dark; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif; }
main { box-sizing: border-box; width: 100%; max-width: 30rem; padding: 1.5rem; }
h1 { margin: 0 0 .5rem; font-size: 1.5rem; line-height: 1.2; }
p { margin: 0 0 1.5rem; }
button { width: 100%; padding: .75rem 1rem; border: 0; border-radius: .5rem; font: inherit; font-weight: 600; color: #fff; background: #4f46e5; cursor: pointer; }
button:focus-visible { outline: 3px solid; outline-offset: 2px; }
`;
