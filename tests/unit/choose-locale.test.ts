import { expect, test } from 'vitest';
import { chooseLocale, type LocaleSource } from '../../subgraphs/rendering/choose-locale.ts';

test.each<{
  available: string[];
  asked: string | null;
  users: string | null;
  fallback?: string;
  chosen: string;
  source: LocaleSource;
}>([
  { available: ['en', 'de'], asked: null, users: null, chosen: 'en', source: 'TEMPLATE_DEFAULT' },
  { available: ['en', 'de'], asked: 'de', users: null, chosen: 'de', source: 'ASKED' },
  { available: ['en', 'de'], asked: null, users: 'de', chosen: 'de', source: 'USER' },
  { available: ['en', 'de', 'fr'], asked: 'fr', users: 'de', chosen: 'fr', source: 'ASKED' },
  { available: ['en', 'de'], asked: 'de-AT', users: null, chosen: 'de', source: 'ASKED_LANGUAGE' },
  { available: ['en', 'de'], asked: null, users: 'de-AT', chosen: 'de', source: 'USER_LANGUAGE' },
  { available: ['en', 'de', 'de-AT'], asked: null, users: 'de-AT', chosen: 'de-AT', source: 'USER' },
  { available: ['en', 'fr', 'de'], asked: 'fr-CA', users: 'de', chosen: 'fr', source: 'ASKED_LANGUAGE' },
  { available: ['en', 'de'], asked: 'fr', users: 'de', chosen: 'de', source: 'USER' },
  { available: ['en', 'de-AT'], asked: 'de', users: null, chosen: 'en', source: 'TEMPLATE_DEFAULT' },
  { available: ['en', 'de'], asked: 'DE-at', users: null, chosen: 'de', source: 'ASKED_LANGUAGE' },
  { available: ['en', 'pt-BR'], asked: 'pt-br', users: null, chosen: 'pt-BR', source: 'ASKED' },
  { available: ['en', 'zh'], asked: 'zh-Hant-TW', users: null, chosen: 'zh', source: 'ASKED_LANGUAGE' },
  { available: ['en', 'zh', 'zh-Hant'], asked: null, users: 'zh-Hant-TW', chosen: 'zh-Hant', source: 'USER_LANGUAGE' },
  { available: ['de'], asked: 'fr', users: 'it', fallback: 'de', chosen: 'de', source: 'TEMPLATE_DEFAULT' },
  { available: [], asked: 'fr', users: 'it', chosen: 'en', source: 'TEMPLATE_DEFAULT' },
])(
  'of $available: asked for $asked, user reads $users → $chosen, $source',
  ({ available, asked, users, fallback = 'en', chosen, source }) => {
    expect(chooseLocale(available, asked, users, fallback)).toEqual({ locale: chosen, source });
  },
);
