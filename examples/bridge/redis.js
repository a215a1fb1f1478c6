'use strict';
// Forwards the topics in TOPICS between the bus and Redis. It delivers at most once, as the bus
// itself does: what waits while Redis is away is bounded, and what is lost is counted.
const { join } = require('../../worker/node');
const { Counts, Forwarder, host, list, onLeave, takeLeave } = require('./forward.js');

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
  // The text of a message is JSON.
  const publish = ({ topic, text }) => (
    out.publish(`bus:${topic}`, `{"me":${JSON.stringify(me)},"data":${text}}`));
  const forwarder = new Forwarder(worker, counts, async (batch) => {
    const done = await Promise.allSettled(batch.map(publish));
    return batch.filter((_, index) => done[index].status === 'rejected');
  });
  out.on('ready', () => { forwarder.open = true; });
  out.on('error', () => { forwarder.open = false; });
  await Promise.all([out.connect(), back.connect()]);
  for (const topic of TOPICS) {
    await back.subscribe(`bus:${topic}`, (text) => {
      // Redis gives a message to both bridges while one replaces the other.
      if (!forwarder.isNewest) return;
      try {
        const said = JSON.parse(text);
        if (said.me === me) return;
        worker.emit(topic, said.data);
        counts.add('bridge_received', topic);
      } catch (error) {
        // It is of another kind or too long, or the supervisor does not read.
        console.error(`${topic}: ${error.message}`);
        counts.add('bridge_lost', topic);
      }
    });
  }
  forwarder.start(TOPICS);
  onLeave(worker, async () => {
    await forwarder.finish();
    counts.flush();
    await takeLeave(Promise.all([back.close(), out.close()]));
    worker.leave();
    // A client whose broker is away keeps the process alive.
    setTimeout(() => process.exit(), 1000).unref();
  });
  worker.ready();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
