import { buildASTSchema, Kind, parse, printSchema, type DefinitionNode, type GraphQLSchema } from 'graphql';
import type { StatusEvent } from '../../contracts/events.ts';

export const ROOT_FIELD = 'notificationStatusChanged';

/** What an event tells by itself, of each type; what else is selected is asked of the subgraphs. */
const KNOWN: Record<string, readonly string[]> = {
  Subscription: [ROOT_FIELD],
  NotificationStatusEvent: ['cursor', 'status', 'previousStatus', 'reason', 'attempt', 'at', 'notification'],
  Notification: ['id', 'requestId', 'user'],
  User: ['id'],
};

/** The part of the clients' schema that an event answers by itself. */
export function toEventSchema(apiSchema: GraphQLSchema): GraphQLSchema {
  const definitions = parse(printSchema(apiSchema), { noLocation: true }).definitions.flatMap(
    (definition): DefinitionNode[] => {
      if (definition.kind === Kind.ENUM_TYPE_DEFINITION || definition.kind === Kind.SCALAR_TYPE_DEFINITION)
        return [definition];
      if (definition.kind !== Kind.OBJECT_TYPE_DEFINITION) return [];
      const known = KNOWN[definition.name.value];
      if (known === undefined) return [];
      const fields = definition.fields?.filter(({ name }) => known.includes(name.value)) ?? [];
      return [{ ...definition, interfaces: [], fields: fields.map((field) => ({ ...field, arguments: [] })) }];
    },
  );
  return buildASTSchema({ kind: Kind.DOCUMENT, definitions }, { assumeValid: true });
}

/** An event as `statusEvent(event:)` of the notification service takes it. */
export type EventInput = {
  cursor: string;
  notificationId: string;
  status: string;
  previousStatus: string | null;
  reason: string | null;
  attempt: number;
  at: string;
};

export const toEventInput = (event: StatusEvent, cursor: string): EventInput => ({
  cursor,
  notificationId: event.notificationId,
  status: event.status.toUpperCase(),
  previousStatus: event.previousStatus?.toUpperCase() ?? null,
  reason: event.reason,
  attempt: event.attempt,
  at: event.at,
});

/** The root value of the event schema. */
export const toRootValue = (event: StatusEvent, cursor: string) => ({
  [ROOT_FIELD]: {
    ...toEventInput(event, cursor),
    notification: { id: event.notificationId, requestId: event.requestId, user: { id: event.userId } },
  },
});
