'use strict';
// Forwards topics between the bus and NATS.
//
// TOPICS: at most once, as the bus itself, to all workers of every machine.
// DURABLE: at least once, by JetStream, to one worker of every machine. A worker calls `publish` of
// the pool `bridge` with an array of `{ topic, id, data }`, as work.js does, and is answered when
// the broker has stored all of them. By topic and id (Nats-Msg-Id) the broker stores each once
// however often it is sent within DUPLICATES_MS. A worker that serves the topic gets
// `{ id, data }`; if it fails or dies, it or another one gets it again.
const { join } = require('../../worker/node');
const { Counts, Forwarder, host, list, onLeave, pause, takeLeave } = require('./forward.js');

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
// How many messages of a topic wait for the workers of this machine, those that failed included;
// the broker holds the others back.
const AT_ONCE = 64;
// How long a worker may take.
const WORK_MS = 30_000;
// How soon the broker offers a message again of which it hears nothing, and how often it hears that
// a worker is at it.
const SILENCE_MS = 10_000;
const WORKING_MS = 2_000;
// After that many failures of workers a message is given up, and counted. That none was idle, or
// that there is none yet, is no failure of a worker.
const MOST_TRIES = 20;
const NOT_TRIED = new Set(['timed-out', 'full', 'lost', 'no-pool', 'alone']);
// For how long a bridge that leaves waits for the work that is under way. With all else that it
// does then, it stays below the `kill_timeout` of nats.toml.
const FINISHES_WORK_MS = WORK_MS + 2_000;
// How many ids of finished messages are known, so that one whose acknowledgement was lost is
// acknowledged again and not worked on again.
const MOST_FINISHED = 10_000;
// The most that the broker keeps for machines that are away. Senders get an error beyond it.
const MOST_STORED = 1 << 30;
// For how long the broker knows which ids it has stored.
const DUPLICATES_MS = 300_000;
// How many brokers of a cluster store each message.
const REPLICAS = Number(process.env.NATS_REPLICAS ?? 1);
const NANOS = 1_000_000;

const worker = join({ pool: 'bridge' });
const counts = new Counts(worker);
const subject = (kind, topic) => {
  if (/^[\w-]+$/.test(topic)) return `bus.${kind}.${topic}`;
  throw new Error(`a topic that NATS carries has letters, digits, - and _: ${topic}`);
};

// At most once.
function plain(broker, forwarder) {
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

// Resolves when the broker has read the batch, with the messages that it does not take.
async function publish(broker, headers, batch) {
  const refused = batch.filter(({ topic, text }) => {
    try {
      broker.publish(subject('plain', topic), text, { headers });
      return false;
    } catch (error) {
      console.error(`${topic}: ${error.message}`);
      return true;
    }
  });
  await broker.flush();
  return refused;
}

// The way from a worker to the stream.
function store(streams, headers) {
  const one = async ({ topic, id, data }, end) => {
    if (!DURABLE.includes(topic)) throw new Error(`DURABLE does not name the topic ${topic}`);
    if (id === undefined || id === '') throw new Error(`a message of ${topic} has no id`);
    const text = JSON.stringify(data);
    // The stream is shared by all topics, so that the id alone would not do.
    const msgID = `${topic}:${id}`;
    for (;;) {
      try {
        const all = headers();
        all.set('Bridge-Id', String(id));
        const options = { msgID, headers: all, timeout: STORE_ONCE_MS };
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
  // By topic and id: those that are finished, those that are under way, since on a busy machine the
  // broker may offer a message again, and how often workers failed at one.
  #finished = new Set();
  #underWay = new Map();
  #failures = new Map();
  #open = 0;

  async deliver(topic, message) {
    const { headers, info, seq } = message;
    // A message without an id comes from another program.
    const id = headers?.get('Bridge-Id') || `${seq}@${info.timestampNanos}`;
    const key = `${topic}:${id}`;
    // If the broker does not hear one of these words, it offers the message again.
    const tell = (word) => Promise.resolve().then(word).catch((error) => {
      console.error(`${key}: ${error.message}`);
    });
    const working = setInterval(() => tell(() => message.working()), WORKING_MS);
    this.#open += 1;
    try {
      if (!this.#finished.has(key)) await this.#once(topic, id, key, message);
      await tell(() => message.ackAck({ timeout: STORE_ONCE_MS }));
    } catch (error) {
      await tell(() => this.#failed(topic, key, message, error));
    } finally {
      clearInterval(working);
      this.#open -= 1;
    }
  }

  // Resolves when nothing is under way any more, or after a while.
  async finish() {
    const end = performance.now() + FINISHES_WORK_MS;
    while (this.#open > 0 && performance.now() < end) await pause(10);
  }

  #once(topic, id, key, message) {
    if (!this.#underWay.has(key)) {
      const work = this.#work(topic, id, key, message).finally(() => this.#underWay.delete(key));
      this.#underWay.set(key, work);
    }
    return this.#underWay.get(key);
  }

  async #work(topic, id, key, message) {
    try {
      await worker.call('default', topic, { id, data: message.json() }, { timeout: WORK_MS });
    } catch (error) {
      if (!NOT_TRIED.has(error.kind)) this.#failures.set(key, (this.#failures.get(key) ?? 0) + 1);
      throw error;
    }
    counts.add('bridge_delivered', topic);
    this.#failures.delete(key);
    this.#finished.add(key);
    if (this.#finished.size > MOST_FINISHED) {
      this.#finished.delete(this.#finished.values().next().value);
    }
  }

  #failed(topic, key, message, error) {
    const tries = this.#failures.get(key) ?? 0;
    console.error(`${key}, failure ${tries}: ${error.message}`);
    if (tries < MOST_TRIES) {
      message.nak(Math.min(RETRY_MS * 2 ** tries, WORK_MS));
      return;
    }
    message.term(error.message);
    this.#failures.delete(key);
    counts.add('bridge_given_up', topic);
  }
}

// Makes the stream and this machine's consumers, or fails. Nothing is delivered yet.
async function durable(broker) {
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
      duplicate_window: DUPLICATES_MS * NANOS,
      num_replicas: REPLICAS,
    });
  }
  const streams = jetstream(broker);
  const consumers = [];
  for (const topic of DURABLE) {
    const name = `${host()}-${topic}`;
    await manager.consumers.add(STREAM, {
      durable_name: name,
      filter_subject: subject('durable', topic),
      ack_policy: AckPolicy.Explicit,
      ack_wait: SILENCE_MS * NANOS,
      max_ack_pending: AT_ONCE,
    });
    consumers.push([topic, await streams.consumers.get(STREAM, name)]);
  }
  return { streams, consumers };
}

// Serves `publish`, and hands what the stream has to workers until `close` has run.
async function carry({ streams, consumers }, headers) {
  const deliverer = new Deliverer();
  const flows = await Promise.all(consumers.map(([topic, consumer]) => consumer.consume({
    max_messages: AT_ONCE,
    callback: (message) => deliverer.deliver(topic, message),
  })));
  store(streams, headers);
  return async () => {
    worker.unserve('publish');
    await takeLeave(Promise.all(flows.map((flow) => flow.close())));
    await deliverer.finish();
  };
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
  // What may fail comes first: from `plain` on the bridge before this one forwards no more.
  const kept = DURABLE.length > 0 ? await durable(broker) : null;
  plain(broker, forwarder);
  forwarder.open = true;
  (async () => {
    for await (const { type } of broker.status()) {
      if (type === 'disconnect') forwarder.open = false;
      if (type === 'reconnect') forwarder.open = true;
      if (type === 'disconnect' || type === 'reconnect') console.error(`nats: ${type}`);
    }
  })();
  const close = kept ? await carry(kept, ours) : () => {};
  onLeave(worker, async () => {
    await forwarder.finish();
    await close();
    counts.flush();
    await takeLeave(broker.drain());
    worker.leave();
    // A client whose broker is away keeps the process alive.
    setTimeout(() => process.exit(), 1000).unref();
  });
  worker.ready();
  const error = await broker.closed();
  if (error) throw error;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
