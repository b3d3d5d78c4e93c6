import type { RestRoute } from '../platform/rest/route.ts';
import { notificationRoutes, statusRoutes } from './notifications.ts';
import { templateRoutes } from './templates.ts';
import { userRoutes } from './users.ts';

/** Every REST path, by its tag in OpenAPI. The gateway serves all of them; the user and the template service each their own. */
export const table = {
  Notifications: { description: 'Sends, and what became of them.', routes: notificationRoutes },
  Status: { description: 'Reports of outcomes, and the status of one notification.', routes: statusRoutes },
  Users: { description: 'Whoever receives notifications. Port 8001 serves these too.', routes: userRoutes },
  Templates: { description: 'What is said, in versions. Port 8002 serves these too.', routes: templateRoutes },
} satisfies Record<string, { description: string; routes: readonly RestRoute[] }>;

export type Tag = keyof typeof table;
export const TAGS = Object.keys(table) as Tag[];

/** The routes of some tags. */
export const routesOf = (tags: readonly Tag[]): RestRoute[] => tags.flatMap((tag) => table[tag].routes);
