import { randomUUID } from 'node:crypto';
import {
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isRequiredArgument,
  isRequiredInputField,
  isScalarType,
  type GraphQLInputField,
  type GraphQLInputObjectType,
  type GraphQLInputType,
} from 'graphql';
import type { World } from './given-world.ts';
import { nameOf, type Place, type Way } from './supergraph.ts';

/** The types that say nothing of what a text must look like. */
export const TEXTS = ['String', 'ID'];

type Honest = (world: World) => unknown;

/** What finds or changes something of a world: by the place's whole name, by that of an input's field, or, for a text, by its last word. */
const HONEST: Record<string, Honest> = {
  action: () => 'createApiKey',
  'AuditTrail.templates.action': () => 'createTemplate',
  'AuditTrail.notifications.action': () => 'suppress',
  address: ({ email }) => email,
  'Template.diff.to': () => 3,
  'Query.feed.after': ({ feedStart }) => feedStart,
  by: () => 'admin',
  clientId: ({ client }) => client,
  code: ({ template }) => template,
  'CreateTemplateInput.code': () => `made/${randomUUID()}`,
  digests: ({ digest }) => digest,
  epoch: ({ epoch }) => epoch,
  email: ({ email }) => email,
  'CreateUserInput.email': () => `${randomUUID()}@example.com`,
  'UpdateUserInput.email': () => `${randomUUID()}@example.com`,
  // So that no failure counts against the next log-in.
  'Mutation.logIn.email': () => `${randomUUID()}@example.com`,
  'CreateTemplateInput.email': () => ({ subject: 'a', html: 'b' }),
  'TemplateContentInput.email': () => ({ subject: 'a', html: 'b' }),
  eventId: () => randomUUID(),
  id: ({ user }) => user,
  'Query.notification.id': ({ notification }) => notification,
  'Mutation.cancelNotification.id': ({ notification }) => notification,
  'Mutation.replayNotification.id': ({ notification }) => notification,
  'Mutation.discardNotification.id': ({ notification }) => notification,
  'Mutation.revokeApiKey.id': ({ apiKey }) => apiKey,
  'Mutation.removePushToken.id': ({ device }) => device,
  'Mutation.unsuppress.id': ({ suppression }) => suppression,
  ids: ({ device }) => device,
  locale: () => 'en',
  notificationId: ({ notification }) => notification,
  password: () => 'correct horse',
  provider: () => 'sendgrid',
  requestId: ({ requestId }) => requestId,
  'Query.explainSend.input.requestId': ({ repeatable }) => repeatable,
  'SendNotificationInput.requestId': () => randomUUID(),
  scopes: () => 'users:read',
  search: ({ word }) => word,
  'Query.notificationStats.since': () => new Date(Date.now() - 3_600_000).toISOString(),
  templateCode: ({ template }) => template,
  token: () => `device-${randomUUID()}`,
  'Query.isUnsubscribeToken.token': ({ unsubscribeToken }) => unsubscribeToken,
  userId: ({ user }) => user,
  'Mutation.replayNotifications.filter': ({ user }) => ({ userId: user }),
  'Mutation.discardNotifications.filter': ({ user }) => ({ userId: user }),
};

/** Given although they may be left out, for without them nothing would be found, or another fault would hide the one at `at`. */
const COMPANIONS: Record<string, { name: string; unlessAt?: string }> = {
  'Query.feed': { name: 'after' },
  'Query.statusEvents': { name: 'after' },
  CreateTemplateInput: { name: 'email', unlessAt: 'push' },
  TemplateContentInput: { name: 'email', unlessAt: 'push' },
  SuppressInput: { name: 'userId', unlessAt: 'address' },
};

/** An honest value for a place, or for what leads to one. */
export function honestValue(name: string, type: GraphQLInputType, world: World): unknown {
  if (isNonNullType(type)) return honestValue(name, type.ofType, world);
  if (isListType(type)) return [honestValue(name, type.ofType, world)];
  const byWord = isScalarType(type) && TEXTS.includes(type.name) ? name.slice(name.lastIndexOf('.') + 1) : '';
  const own = HONEST[name] ?? HONEST[byWord];
  if (own !== undefined) return own(world);
  if (isInputObjectType(type)) return inputWith(type, world);
  if (isEnumType(type)) return type.getValues()[0]?.name;
  const made: Record<string, unknown> = {
    Int: 1,
    FeedNumber: 1,
    Boolean: true,
    JSONObject: {},
    DateTime: new Date().toISOString(),
  };
  return made[type.name] ?? world.word;
}

/** The arguments that the last field of a way needs. */
export function honestArguments(way: Way, world: World): Record<string, unknown> {
  const step = way.at(-1);
  if (step === undefined) return {};
  const name = nameOf(step);
  const given = step.field.args.filter((argument) => isRequiredArgument(argument) || isCompanion(name, argument.name));
  return Object.fromEntries(
    given.map((argument) => [argument.name, honestValue(`${name}.${argument.name}`, argument.type, world)]),
  );
}

/** The same, with a value at a place. */
export function argumentsWith(place: Place, value: unknown, world: World): Record<string, unknown> {
  const { way, argument, below } = place;
  return { ...honestArguments(way, world), [argument.name]: putInto(argument.type, below, value, world) };
}

function putInto(
  type: GraphQLInputType,
  [next, ...rest]: readonly GraphQLInputField[],
  value: unknown,
  world: World,
): unknown {
  if (isNonNullType(type)) return putInto(type.ofType, next ? [next, ...rest] : [], value, world);
  if (isListType(type)) return [putInto(type.ofType, next ? [next, ...rest] : [], value, world)];
  if (next === undefined || !isInputObjectType(type)) return value;
  return { ...inputWith(type, world, next.name), [next.name]: putInto(next.type, rest, value, world) };
}

/** @param at the field that something else than an honest value goes to */
function inputWith(type: GraphQLInputObjectType, world: World, at = ''): Record<string, unknown> {
  const given = Object.values(type.getFields()).filter(
    (field) => field.name !== at && (isRequiredInputField(field) || isCompanion(type.name, field.name, at)),
  );
  return Object.fromEntries(
    given.map((field) => [field.name, honestValue(`${type.name}.${field.name}`, field.type, world)]),
  );
}

const isCompanion = (owner: string, name: string, at = '') =>
  COMPANIONS[owner]?.name === name && COMPANIONS[owner].unlessAt !== at;
