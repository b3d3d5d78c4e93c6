/** What the shop asks of Herald about its customer. */
const OF_USER = 'notifications(first: 3) { edges { node { status } } }';

/** One query over both: the shop tells who the customer is, Herald the rest. */
export const CUSTOMER = `query Customer($id: ID!) { customer(id: $id) { name user { ${OF_USER} } } }`;

export const ADD_CUSTOMER =
  'mutation AddCustomer($name: String!, $email: String!) { addCustomer(name: $name, email: $email) { id user { id } } }';
