import { z } from 'zod';
import { refuse } from '../platform/refusal.ts';
import { route, type RestRoute } from '../platform/rest/route.ts';
import * as fields from './fields.ts';
import * as operations from './generated/operations.ts';

const preferencesSchema = z
  .strictObject({
    email: z.boolean().meta({ description: 'Whether e-mails are sent.' }),
    push: z.boolean().meta({ description: 'Whether push messages are sent.' }),
  })
  .meta({ id: 'Preferences', description: 'Which channels the user allows.' });

const name = fields.line('As in the To line of a mail.', { maxLength: 200 });
const email = fields.text('Unique, regardless of case.', { format: 'email', maxLength: 254 });
const pushToken = fields.line("A device, as its SDK or browser gives it: the user's newest from now on.", {
  maxLength: 4_096,
});
const password = fields.text('Stored as argon2id, never readable.', {
  minLength: 8,
  maxLength: 200,
  format: 'password',
});

const createUserSchema = z
  .strictObject({
    name,
    email,
    push_token: pushToken.nullish(),
    locale: fields.locale.nullish(),
    preferences: preferencesSchema.optional(),
    password,
  })
  .meta({ id: 'NewUser', description: 'A user to be. Both channels are on when preferences are left out.' });

const replaceUserSchema = z
  .strictObject({
    name,
    email,
    push_token: pushToken.nullish().meta({ description: 'Null takes every device away; left out, they stay.' }),
    locale: fields.locale.nullish().meta({ description: 'Null takes it away; left out, it stays.' }),
    preferences: preferencesSchema,
    password: password.optional().meta({ description: 'Left out, it stays.' }),
  })
  .meta({ id: 'WholeUser', description: 'A user as they shall be.' });

const updateUserSchema = z
  .strictObject({
    name: name.optional(),
    email: email.nullish().meta({ description: 'Null takes it away.' }),
    push_token: pushToken
      .nullish()
      .meta({ description: 'A further device, the newest; null takes every device away.' }),
    locale: fields.locale.nullish().meta({ description: 'Null takes it away.' }),
    preferences: preferencesSchema.optional(),
    password: password.optional(),
  })
  .meta({ id: 'UserChange', description: 'What is to change of a user; what is left out stays.' });

const userSchema = z
  .strictObject({
    id: fields.userId,
    name: fields.text('As in the To line of a mail.'),
    email: fields.text('Null for a user who has none.').nullable(),
    push_token: fields.text('That of the newest living device; null when there is none.').nullable(),
    preferences: preferencesSchema,
  })
  .meta({ id: 'User', description: 'Whoever receives notifications.' });

const noSuchUser = refuse('NOT_FOUND', 'there is no such user');

const example = {
  name: 'Ada Lovelace',
  email: 'ada@example.com',
  push_token: null,
  preferences: { email: true, push: false },
};

/** The users' paths, which the user service and the gateway serve. */
export const userRoutes: RestRoute[] = [
  route<operations.CreateUserMutation, object>({
    id: 'createUser',
    method: 'POST',
    path: '/api/v1/users/',
    summary: 'Create a user',
    operation: operations.CreateUserDocument.toString(),
    body: createUserSchema,
    example: { body: { ...example, password: 'correct horse battery' } },
    answers: { 201: { description: 'The user, with the new id.', schema: userSchema } },
    problems: ['CONFLICT'],
    toVariables: ({ body }) => ({ input: body }),
    toAnswer: ({ createUser }) => ({
      status: 201,
      body: toUserBody(createUser),
      location: `/api/v1/users/${createUser.id}`,
    }),
  }),
  route<operations.UsersQuery>({
    id: 'listUsers',
    method: 'GET',
    path: '/api/v1/users/',
    summary: 'List users, newest first',
    operation: operations.UsersDocument.toString(),
    query: z.strictObject({ search: fields.search, ...fields.pageQuery }),
    example: { query: { search: 'ada', first: '20' } },
    answers: {
      200: {
        description: 'A page.',
        schema: z
          .strictObject({ users: z.array(userSchema), next: fields.next })
          .meta({ id: 'UserPage', description: 'A page of users.' }),
      },
    },
    toVariables: ({ query }) => ({ search: query['search'], ...fields.toPage(query) }),
    toAnswer: ({ users: { edges, pageInfo } }) => {
      const next = pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null;
      return { status: 200, body: { users: edges.map(({ node }) => toUserBody(node)), next }, next };
    },
  }),
  route<operations.UserQuery>({
    id: 'readUser',
    method: 'GET',
    path: '/api/v1/users/{user_id}',
    summary: 'Read a user',
    operation: operations.UserDocument.toString(),
    answers: { 200: { description: 'The user.', schema: userSchema } },
    problems: ['NOT_FOUND'],
    toVariables: ({ params }) => ({ id: params['user_id'] }),
    toAnswer: ({ user }) => (user ? { status: 200, body: toUserBody(user) } : noSuchUser),
  }),
  route<operations.UpdateUserMutation, object>({
    id: 'replaceUser',
    method: 'PUT',
    path: '/api/v1/users/{user_id}',
    summary: 'Say all of a user anew',
    operation: operations.UpdateUserDocument.toString(),
    body: replaceUserSchema,
    example: { body: example },
    answers: { 200: { description: 'The user as they are now.', schema: userSchema } },
    problems: ['NOT_FOUND', 'CONFLICT', 'UNPROCESSABLE'],
    toVariables: ({ params, body }) => ({ id: params['user_id'], input: body }),
    toAnswer: ({ updateUser }) => ({ status: 200, body: toUserBody(updateUser) }),
  }),
  route<operations.UpdateUserMutation, object>({
    id: 'updateUser',
    method: 'PATCH',
    path: '/api/v1/users/{user_id}',
    summary: 'Change what is named of a user',
    operation: operations.UpdateUserDocument.toString(),
    body: updateUserSchema,
    example: { body: { name: 'Ada King', locale: 'en-GB' } },
    answers: { 200: { description: 'The user as they are now.', schema: userSchema } },
    problems: ['NOT_FOUND', 'CONFLICT', 'UNPROCESSABLE'],
    toVariables: ({ params, body }) => ({ id: params['user_id'], input: body }),
    toAnswer: ({ updateUser }) => ({ status: 200, body: toUserBody(updateUser) }),
  }),
  route<operations.DeleteUserMutation>({
    id: 'deleteUser',
    method: 'DELETE',
    path: '/api/v1/users/{user_id}',
    summary: 'Delete a user, and erase what is known of them',
    description: "It can't be undone: what is pending for them is cancelled, addresses and contents are erased.",
    operation: operations.DeleteUserDocument.toString(),
    answers: { 204: { description: 'Gone.', schema: null } },
    problems: ['NOT_FOUND'],
    toVariables: ({ params }) => ({ id: params['user_id'] }),
    toAnswer: () => ({ status: 204, body: undefined }),
  }),
  route<operations.PreferencesQuery>({
    id: 'readPreferences',
    method: 'GET',
    path: '/api/v1/users/{user_id}/preferences',
    summary: 'Read which channels a user allows',
    operation: operations.PreferencesDocument.toString(),
    answers: { 200: { description: 'Both channels.', schema: preferencesSchema } },
    problems: ['NOT_FOUND'],
    toVariables: ({ params }) => ({ id: params['user_id'] }),
    toAnswer: ({ user }) => (user ? { status: 200, body: user.preferences } : noSuchUser),
  }),
  route<operations.SetPreferencesMutation, object>({
    id: 'setPreferences',
    method: 'PUT',
    path: '/api/v1/users/{user_id}/preferences',
    summary: 'Switch channels on and off',
    operation: operations.SetPreferencesDocument.toString(),
    body: preferencesSchema,
    example: { body: { email: true, push: false } },
    answers: { 200: { description: 'As they are now.', schema: preferencesSchema } },
    problems: ['NOT_FOUND'],
    toVariables: ({ params, body }) => ({ userId: params['user_id'], preferences: body }),
    toAnswer: ({ setPreferences }) => ({ status: 200, body: setPreferences.preferences }),
  }),
];

/** Exactly the specification's fields, `push_token: null` included. */
const toUserBody = ({ id, name, email, pushToken, preferences }: operations.RestUserFragment) => ({
  id,
  name,
  email,
  pushToken,
  preferences,
});
