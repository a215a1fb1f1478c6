'use strict';
// Workers that know nothing of the bridge, but for `publish`: they use the bus of their machine.
const { randomUUID } = require('node:crypto');
const { join } = require('../../worker/node');

const worker = join();
const TRIES = 5;

// Returns when the broker has stored the message; the ids of all tries are the same.
async function publish(topic, data, id = randomUUID()) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await worker.call('bridge', 'publish', [{ topic, id, data }]);
    } catch (error) {
      if (tries === TRIES || error.kind === 'no-pool') throw error;
    }
  }
}

const heard = [];
const note = (topic, data) => {
  heard.push([topic, data]);
  if (heard.length > 100) heard.shift();
};

// At most once, in every worker.
for (const topic of ['orders', 'prices']) worker.on(topic, (data) => note(topic, data));
// At least once, in one worker of each machine. `id` tells whether it came before.
worker.serve('payments', ({ data }) => note('payments', data));

worker.action('heard', () => heard);
worker.action('order', (data) => worker.emit('orders', data));
worker.action('pay', (data) => publish('payments', data));
worker.joined.then(() => worker.ready()).catch((error) => {
  console.error(error);
  process.exit(1);
});
