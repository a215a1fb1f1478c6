'use strict';
// Forwards the topics in TOPICS between the bus and Redis. It delivers at most once, as the bus
// itself does: what waits while Redis is away is bounded, and what is lost is counted.
const { join } = require('../../worker/node');
const { Counts, Forwarder, host, list, onLeave } = require('./forward.js');

const TOPICS = list('TOPICS', 'orders');
const RETRY_MS = 200;
const worker = join({ pool: 'bridge' });
const counts = new Counts(worker);

async function main() {
  await worker.joined;
  const { createClient } = require('redis');
  const me = host();
  const out = createClient({
    url: process.env.REDIS_URL,
    // What waits, waits in the forwarder.
    disableOfflineQueue: true,
    // Finds a broker that is gone without a word.
    pingInterval: 5000,
    socket: { reconnectStrategy: RETRY_MS },
  });
  const back = out.duplicate({ disableOfflineQueue: false });
  for (const client of [out, back]) {
    client.on('error', (error) => console.error(`redis: ${error.message || error.code}`));
  }
  const publish = ({ topic, data }) => out.publish(`bus:${topic}`, JSON.stringify({ me, data }));
  const forwarder = new Forwarder(worker, counts, (batch) => Promise.all(batch.map(publish)));
  out.on('ready', () => { forwarder.open = true; });
  out.on('error', () => { forwarder.open = false; });
  await Promise.all([out.connect(), back.connect()]);
  for (const topic of TOPICS) {
    await back.subscribe(`bus:${topic}`, (text) => {
      const said = JSON.parse(text);
      // Redis gives a message to both bridges while one replaces the other.
      if (said.me === me || !forwarder.isNewest) return;
      worker.emit(topic, said.data);
      counts.add('bridge_received', topic);
    });
  }
  forwarder.start(TOPICS);
  onLeave(worker, async () => {
    await forwarder.finish();
    await back.close();
    await out.close();
    counts.flush();
    worker.leave();
  });
  worker.ready();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
