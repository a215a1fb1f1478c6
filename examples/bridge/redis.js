// The worker of slot 0 forwards the topics in TOPICS between the bus and Redis. The other workers
// need not know about the bridge. It delivers at most once, as the bus itself does: while Redis is
// unreachable, it loses messages and counts them.
'use strict';
const { randomUUID } = require('node:crypto');
const { join } = require('../../worker/node');

const TOPICS = (process.env.TOPICS ?? 'orders').split(',');
const MOST_WAITING = 1000; // how many messages may wait for Redis
const isBridge = process.env.SUPERVISOR_SLOT === '0';
const worker = join({ pool: isBridge ? 'bridge' : 'work' });

async function bridge() {
  const { createClient } = require('redis');
  // Marks this bridge's own messages, which come back from Redis and must not be emitted again.
  const me = randomUUID();
  const url = process.env.REDIS_URL;
  const out = createClient({ url, commandsQueueMaxLength: MOST_WAITING });
  const back = out.duplicate();
  for (const client of [out, back]) {
    client.on('error', (error) => console.error(`redis: ${error.message}`));
  }
  for (const topic of TOPICS) {
    worker.on(topic, async (data, from) => {
      // This worker emitted it, so it came from Redis.
      if (from.worker === worker.peer.worker) return;
      try {
        await out.publish(`bus:${topic}`, JSON.stringify({ me, data }));
        worker.counter('bridge_sent', 1, { topic });
      } catch (error) {
        worker.counter('bridge_lost', 1, { topic });
      }
    });
  }
  await Promise.all([out.connect(), back.connect()]);
  for (const topic of TOPICS) {
    await back.subscribe(`bus:${topic}`, (text) => {
      const said = JSON.parse(text);
      if (said.me === me) return;
      worker.emit(topic, said.data);
      worker.counter('bridge_received', 1, { topic });
    });
  }
  worker.onDrain(async () => {
    await back.close();
    await out.close();
    worker.leave();
  });
}

function work() {
  const heard = [];
  for (const topic of TOPICS) {
    worker.on(topic, (data) => {
      heard.push([topic, data]);
      if (heard.length > 100) heard.shift();
    });
  }
  worker.action('heard', () => heard);
  worker.action('order', (data) => worker.emit('orders', data));
}

worker.joined.then(isBridge ? bridge : work).then(() => worker.ready()).catch((error) => {
  console.error(error);
  process.exit(1);
});
