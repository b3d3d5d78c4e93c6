import type { Viewer } from '../../platform/trust.ts';
import type { SuppressionWords } from './find-obstacles.ts';
import type { Whereabouts } from './find-whereabouts.ts';
import type { ProviderRow } from './store.ts';

/** Whether a viewer may know what operators know: what a provider said of our account, who suppressed somebody and why. */
export const mayKnowWords = (viewer: Viewer): boolean => viewer.scopes.includes('notifications:manage');

/** That a provider takes nothing, and not why. */
export const withoutReason = (provider: ProviderRow): ProviderRow => ({ ...provider, reason: null });

/** That it is suppressed, and not by whom or why. */
export const withoutWords = (suppression: SuppressionWords | null): SuppressionWords | null =>
  suppression && { ...suppression, reason: null, createdBy: null };

/** That it waits or failed, and not what its timeline and its hand-overs tell: a provider's words, who stopped it and why. */
export const withoutInside = ({ attempt, cause, ...found }: Whereabouts): Whereabouts => ({
  ...found,
  attempt: attempt && { ...attempt, reason: null },
  cause: cause && { ...cause, by: null, why: null, error: null },
});

/** As the scope of `timeline` and `deliveryAttempts` says. */
export const mayLookInside = (viewer: Viewer): boolean => viewer.scopes.includes('notifications:inspect');
