import { z } from 'zod';
import { refuse } from '../../platform/refusal.ts';
import { route, type RestRoute } from '../../platform/rest/route.ts';
import {
  CreateUserDocument,
  DeleteUserDocument,
  SetPreferencesDocument,
  UserDocument,
  type CreateUserMutation,
  type DeleteUserMutation,
  type RestUserFragment,
  type SetPreferencesMutation,
  type UserQuery,
} from './generated/rest.ts';

const preferencesSchema = z.strictObject({ email: z.boolean(), push: z.boolean() });

const createUserSchema = z.strictObject({
  name: z.string(),
  email: z.string(),
  push_token: z.string().nullish(),
  locale: z.string().nullish(),
  preferences: preferencesSchema.optional(),
  password: z.string(),
});

/** The user service's REST paths, as the specification spells them. */
export const createRoutes = (): RestRoute[] => [
  route<CreateUserMutation, object>({
    method: 'POST',
    path: '/api/v1/users/',
    summary: 'Create a user',
    operation: CreateUserDocument.toString(),
    body: createUserSchema,
    toVariables: ({ body }) => ({ input: body }),
    toAnswer: ({ createUser }) => ({ status: 201, body: toUserBody(createUser) }),
  }),
  route<UserQuery>({
    method: 'GET',
    path: '/api/v1/users/{user_id}',
    summary: 'Read a user',
    operation: UserDocument.toString(),
    toVariables: ({ params }) => ({ id: params['user_id'] }),
    toAnswer: ({ user }) =>
      user ? { status: 200, body: toUserBody(user) } : refuse('NOT_FOUND', 'there is no such user'),
  }),
  route<DeleteUserMutation>({
    method: 'DELETE',
    path: '/api/v1/users/{user_id}',
    summary: 'Delete a user, and erase what is known of them',
    operation: DeleteUserDocument.toString(),
    toVariables: ({ params }) => ({ id: params['user_id'] }),
    toAnswer: () => ({ status: 204, body: undefined }),
  }),
  route<SetPreferencesMutation, object>({
    method: 'PUT',
    path: '/api/v1/users/{user_id}/preferences',
    summary: 'Switch channels on and off',
    operation: SetPreferencesDocument.toString(),
    body: preferencesSchema,
    toVariables: ({ params, body }) => ({ userId: params['user_id'], preferences: body }),
    toAnswer: ({ setPreferences }) => ({ status: 200, body: setPreferences.preferences }),
  }),
];

/** Exactly the specification's fields, `push_token: null` included. */
const toUserBody = ({ id, name, email, pushToken, preferences }: RestUserFragment) => ({
  id,
  name,
  email,
  pushToken,
  preferences,
});
