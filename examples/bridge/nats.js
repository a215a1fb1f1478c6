'use strict';
// Forwards topics between the bus and NATS.
//
// TOPICS: at most once, as the bus itself, to all workers of every machine.
// DURABLE: at least once, by JetStream, to one worker of every machine. A worker calls `publish` of
// the pool `bridge` with an array of `{ topic, id, data }`, as work.js does, and is answered when
// the broker has stored all of them. By the id (Nats-Msg-Id) the broker stores each once however
// often it is sent. A worker that serves the topic gets `{ id, data }`; if it fails or dies, it or
// another one gets it again.
const { join } = require('../../worker/node');
const { Counts, Forwarder, host, list, onLeave } = require('./forward.js');

const TOPICS = list('TOPICS', 'orders');
const DURABLE = list('DURABLE');
const STREAM = 'bus-durable';
const RETRY_MS = 200;
// For how long a message is offered to the broker before its sender gets an error, and for how long
// each time.
const STORE_MS = 25_000;
const STORE_ONCE_MS = 2_000;
// How many calls of senders are under way; the supervisor holds the others back.
const SENDERS_AT_ONCE = 64;
// How many messages wait for the workers of this machine; the broker holds the others back.
const AT_ONCE = 512;
// How long a worker may take.
const WORK_MS = 30_000;
// How soon the broker offers a message again of which it hears nothing, and how often it hears that
// a worker is at it.
const SILENCE_MS = 10_000;
const WORKING_MS = 2_000;
// After that many failures a message is given up, and counted.
const MOST_TRIES = 20;
// How many ids of finished messages are known, so that one whose acknowledgement was lost is
// acknowledged again and not worked on again.
const MOST_FINISHED = 10_000;
// The most that the broker keeps for machines that are away. Senders get an error beyond it.
const MOST_STORED = 1 << 30;
const NANOS = 1_000_000;

const worker = join({ pool: 'bridge' });
const counts = new Counts(worker);
const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });
const subject = (kind, topic) => {
  if (/^[\w-]+$/.test(topic)) return `bus.${kind}.${topic}`;
  throw new Error(`a topic that NATS carries has letters, digits, - and _: ${topic}`);
};

// At most once.
async function plain(broker, forwarder) {
  // One of the bridges of this machine gets a message; two run while one replaces the other.
  const queue = host();
  for (const topic of TOPICS) {
    broker.subscribe(subject('plain', topic), {
      queue,
      callback: (error, message) => {
        if (error || message.headers?.get('Bridge-Host') === queue) return;
        try {
          worker.emit(topic, message.json());
          counts.add('bridge_received', topic);
        } catch (reason) {
          // It is no JSON or too long, or the supervisor does not read.
          console.error(`${topic}: ${reason.message}`);
          counts.add('bridge_lost', topic);
        }
      },
    });
  }
  forwarder.start(TOPICS);
}

// Resolves when the broker has read the batch.
async function publish(broker, headers, batch) {
  for (const { topic, data } of batch) {
    broker.publish(subject('plain', topic), JSON.stringify(data), { headers });
  }
  await broker.flush();
}

// The way from a worker to the stream.
function store(streams, headers) {
  const one = async ({ topic, id, data }, end) => {
    if (!DURABLE.includes(topic)) throw new Error(`DURABLE does not name the topic ${topic}`);
    const text = JSON.stringify(data);
    for (;;) {
      try {
        const options = { msgID: id, headers: headers(), timeout: STORE_ONCE_MS };
        await streams.publish(subject('durable', topic), text, options);
        counts.add('bridge_stored', topic);
        return;
      } catch (error) {
        if (Date.now() > end) throw error;
        await pause(RETRY_MS);
      }
    }
  };
  // All of them are stored, or the sender gets an error.
  worker.serve('publish', async (messages) => {
    const end = Date.now() + STORE_MS;
    await Promise.all(messages.map((message) => one(message, end)));
  }, { atOnce: SENDERS_AT_ONCE });
}

// The way from the stream to a worker of this machine.
class Deliverer {
  #broker;
  #finished = new Set();
  // The work that is under way, by id: on a busy machine the broker may offer a message again.
  #underWay = new Map();

  constructor(broker) {
    this.#broker = broker;
  }

  async deliver(topic, message) {
    const id = message.headers?.get('Nats-Msg-Id') || String(message.seq);
    const working = setInterval(() => message.working(), WORKING_MS);
    try {
      if (!this.#finished.has(id)) await this.#once(topic, id, message);
      await this.#settle(() => message.ackAck({ timeout: STORE_ONCE_MS }));
    } catch (error) {
      const tries = message.info.deliveryCount;
      console.error(`${topic} ${id}, try ${tries}: ${error.message}`);
      if (tries < MOST_TRIES) {
        await this.#settle(() => message.nak(Math.min(RETRY_MS * 2 ** tries, WORK_MS)));
      } else {
        await this.#settle(() => message.term(error.message));
        counts.add('bridge_given_up', topic);
      }
    } finally {
      clearInterval(working);
    }
  }

  #once(topic, id, message) {
    if (!this.#underWay.has(id)) {
      const work = this.#work(topic, id, message).finally(() => this.#underWay.delete(id));
      this.#underWay.set(id, work);
    }
    return this.#underWay.get(id);
  }

  async #work(topic, id, message) {
    await worker.call('default', topic, { id, data: message.json() }, { timeout: WORK_MS });
    counts.add('bridge_delivered', topic);
    this.#finished.add(id);
    if (this.#finished.size > MOST_FINISHED) {
      this.#finished.delete(this.#finished.values().next().value);
    }
  }

  // Tells the broker, also one that has to come back first.
  async #settle(tell) {
    while (!this.#broker.isClosed()) {
      try {
        await tell();
        return;
      } catch (error) {
        await pause(RETRY_MS);
      }
    }
  }
}

async function durable(broker, headers) {
  const { AckPolicy, DiscardPolicy, RetentionPolicy, StorageType, jetstream, jetstreamManager }
    = require('@nats-io/jetstream');
  const manager = await jetstreamManager(broker);
  const found = await manager.streams.info(STREAM).catch(() => null);
  if (!found) {
    await manager.streams.add({
      name: STREAM,
      subjects: ['bus.durable.>'],
      storage: StorageType.File,
      // A message stays until every machine has it.
      retention: RetentionPolicy.Interest,
      discard: DiscardPolicy.New,
      max_bytes: MOST_STORED,
    });
  }
  const streams = jetstream(broker);
  const deliverer = new Deliverer(broker);
  const flows = [];
  for (const topic of DURABLE) {
    const name = `${host()}-${topic}`;
    await manager.consumers.add(STREAM, {
      durable_name: name,
      filter_subject: subject('durable', topic),
      ack_policy: AckPolicy.Explicit,
      ack_wait: SILENCE_MS * NANOS,
      max_ack_pending: AT_ONCE,
    });
    const consumer = await streams.consumers.get(STREAM, name);
    flows.push(await consumer.consume({
      max_messages: AT_ONCE,
      callback: (message) => deliverer.deliver(topic, message),
    }));
  }
  store(streams, headers);
  return flows;
}

async function main() {
  await worker.joined;
  const { connect, headers } = require('@nats-io/transport-node');
  const broker = await connect({
    servers: (process.env.NATS_URL ?? 'nats://127.0.0.1:4222').split(','),
    name: host(),
    waitOnFirstConnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RETRY_MS,
    // Finds a broker that is gone without a word.
    pingInterval: 5_000,
    maxPingOut: 2,
  });
  const ours = () => {
    const all = headers();
    all.set('Bridge-Host', host());
    return all;
  };
  const forwarder = new Forwarder(worker, counts, (batch) => publish(broker, ours(), batch));
  await plain(broker, forwarder);
  forwarder.open = true;
  (async () => {
    for await (const { type } of broker.status()) {
      if (type === 'disconnect') forwarder.open = false;
      if (type === 'reconnect') forwarder.open = true;
      if (type === 'disconnect' || type === 'reconnect') console.error(`nats: ${type}`);
    }
  })();
  const flows = DURABLE.length > 0 ? await durable(broker, ours) : [];
  onLeave(worker, async () => {
    await forwarder.finish();
    worker.unserve('publish');
    await Promise.all(flows.map((flow) => flow.close()));
    await broker.drain();
    counts.flush();
    worker.leave();
  });
  worker.ready();
  const error = await broker.closed();
  if (error) throw error;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
