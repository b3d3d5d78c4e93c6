import { randomBytes } from 'node:crypto';
import { GraphQLError } from 'graphql';
import { GraphQLRequestError, type Client } from '../../client/client.ts';
import { CreateUserDocument } from '../../client/generated/operations.ts';
import type { SignedContext, Viewer } from '../../client/verify-request.ts';

type Customer = { id: string; name: string; userId: string };

/** The shop: who its customers are (a database in earnest), and what the graph says of them. */
export function createResolvers(herald: Client) {
  const customers = new Map<string, Customer>();
  return {
    Query: {
      customer(_: unknown, { id }: { id: string }, { viewer }: SignedContext): Customer | null {
        const customer = customers.get(id);
        const isVisible = viewer.kind === 'user' ? viewer.id === customer?.userId : maySeeAll(viewer);
        return customer !== undefined && isVisible ? customer : null;
      },
    },
    Mutation: {
      async addCustomer(_: unknown, { name, email }: { name: string; email: string }, { viewer }: SignedContext) {
        // The user is made with the shop's own key: whoever could not make one themselves must not by way of the shop.
        if (viewer.kind === 'user' || !viewer.scopes.includes('users:write'))
          throw refusal('FORBIDDEN', 'this needs an API key with the scope users:write');
        // They log in to the shop, not to Herald, so nobody need know this password.
        const input = { name, email, password: randomBytes(24).toString('base64url') };
        const { createUser } = await herald.request(CreateUserDocument, { input }).catch(rethrow);
        const customer = { id: String(customers.size + 1), name, userId: createUser.id };
        customers.set(customer.id, customer);
        return customer;
      },
    },
    Customer: {
      // Its key is enough: the rest of the user is Herald's to tell.
      user: ({ userId }: Customer) => ({ __typename: 'User', id: userId }),
      __resolveReference: ({ id }: { id: string }) => customers.get(id) ?? null,
    },
  };
}

const maySeeAll = ({ scopes }: Viewer) => scopes.includes('users:read');

/** Herald's refusals are the caller's to mend. */
function rethrow(error: unknown): never {
  if (error instanceof GraphQLRequestError) throw refusal(error.code, error.message);
  throw error;
}

const refusal = (code: string, message: string) => new GraphQLError(message, { extensions: { code } });
