import { connect, type ConfirmChannel } from 'amqplib';

/** Lends a plain AMQP channel, beside and independent of Herald's own broker code. */
export async function withChannel<T>(amqpUrl: string, work: (channel: ConfirmChannel) => Promise<T>): Promise<T> {
  const connection = await connect(amqpUrl);
  connection.on('error', () => {});
  try {
    const channel = await connection.createConfirmChannel();
    channel.on('error', () => {});
    return await work(channel);
  } finally {
    await connection.close();
  }
}

export const publish = (amqpUrl: string, exchange: string, key: string, body: string): Promise<void> =>
  withChannel(amqpUrl, async (channel) => {
    channel.publish(exchange, key, Buffer.from(body));
    await channel.waitForConfirms();
  });

/** Takes every message that is ready in a queue, parsed as JSON where it is JSON. */
export const takeAll = (amqpUrl: string, queue: string): Promise<unknown[]> =>
  withChannel(amqpUrl, async (channel) => {
    const bodies: unknown[] = [];
    for (;;) {
      const message = await channel.get(queue, { noAck: true });
      if (message === false) return bodies;
      const text = message.content.toString('utf8');
      bodies.push(isJson(text) ? JSON.parse(text) : text);
    }
  });

export const deleteFromBroker = (amqpUrl: string, names: { queues: string[]; exchanges: string[] }): Promise<void> =>
  withChannel(amqpUrl, async (channel) => {
    for (const queue of names.queues) await channel.deleteQueue(queue);
    for (const exchange of names.exchanges) await channel.deleteExchange(exchange);
  });

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
