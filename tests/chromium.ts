import { findBinary } from './find-binary.ts';

/** A Chromium or Chrome of this machine. */
export const findChromium = (): string | null =>
  ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
    .map((name) => findBinary(name))
    .find((path) => path !== null) ?? null;
