import type { ApolloServerPlugin } from '@apollo/server';
import { Kind, type DocumentNode, type SelectionSetNode } from 'graphql';
import { refuse, toGraphQLError } from '../platform/refusal.ts';

/** Far beyond what people and their tools ask for at once; introspection has a few dozen. */
const MAX_FIELDS = 5_000;

/**
 * Refuses a question whose fragments come to too many fields. Planning takes its time field by field, in the thread that serves
 * everybody: two kilobytes of fragments, each using the next one twice, took six seconds, and with every further one twice as long.
 */
export const limitFields: ApolloServerPlugin = {
  requestDidStart: async () => ({
    didResolveOperation: async ({ document, operation }) => {
      if (operation !== undefined && countFields(operation.selectionSet, document) > MAX_FIELDS)
        throw toGraphQLError(
          refuse(
            'BAD_USER_INPUT',
            `query asks for more than ${MAX_FIELDS} fields, with all that its fragments hold: ask for less at once`,
            'query',
            'TOO_LARGE',
          ),
        );
    },
  }),
};

/** With each fragment counted as often as it is used, and looked through once. The document is valid: no fragment holds itself. */
function countFields(operation: SelectionSetNode, { definitions }: DocumentNode): number {
  const known = new Map<string, number>();
  const countOf = ({ selections }: SelectionSetNode): number =>
    selections.reduce((sum, selection) => {
      switch (selection.kind) {
        case Kind.FIELD:
          return sum + 1 + (selection.selectionSet === undefined ? 0 : countOf(selection.selectionSet));
        case Kind.INLINE_FRAGMENT:
          return sum + countOf(selection.selectionSet);
        case Kind.FRAGMENT_SPREAD:
          return sum + countOfFragment(selection.name.value);
      }
    }, 0);
  const countOfFragment = (name: string): number => {
    const fragment = definitions.find((one) => one.kind === Kind.FRAGMENT_DEFINITION && one.name.value === name);
    const count = known.get(name) ?? (fragment?.kind === Kind.FRAGMENT_DEFINITION ? countOf(fragment.selectionSet) : 0);
    known.set(name, count);
    return count;
  };
  return countOf(operation);
}
