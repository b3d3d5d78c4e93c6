import { expect, test } from 'vitest';
import { chooseLocale } from '../../subgraphs/notification/choose-locale.ts';

test.each<{ available: string[]; asked: string | null; users: string | null; fallback?: string; chosen: string }>([
  { available: ['en', 'de'], asked: null, users: null, chosen: 'en' },
  { available: ['en', 'de'], asked: 'de', users: null, chosen: 'de' },
  { available: ['en', 'de'], asked: null, users: 'de', chosen: 'de' },
  { available: ['en', 'de', 'fr'], asked: 'fr', users: 'de', chosen: 'fr' },
  { available: ['en', 'de'], asked: 'de-AT', users: null, chosen: 'de' },
  { available: ['en', 'de'], asked: null, users: 'de-AT', chosen: 'de' },
  { available: ['en', 'de', 'de-AT'], asked: null, users: 'de-AT', chosen: 'de-AT' },
  { available: ['en', 'fr', 'de'], asked: 'fr-CA', users: 'de', chosen: 'fr' },
  { available: ['en', 'de'], asked: 'fr', users: 'de', chosen: 'de' },
  { available: ['en', 'de-AT'], asked: 'de', users: null, chosen: 'en' },
  { available: ['en', 'de'], asked: 'DE-at', users: null, chosen: 'de' },
  { available: ['en', 'pt-BR'], asked: 'pt-br', users: null, chosen: 'pt-BR' },
  { available: ['en', 'zh'], asked: 'zh-Hant-TW', users: null, chosen: 'zh' },
  { available: ['de'], asked: 'fr', users: 'it', fallback: 'de', chosen: 'de' },
  { available: [], asked: 'fr', users: 'it', chosen: 'en' },
])(
  'of $available: asked for $asked, user reads $users → $chosen',
  ({ available, asked, users, fallback = 'en', chosen }) => {
    expect(chooseLocale(available, asked, users, fallback)).toBe(chosen);
  },
);
