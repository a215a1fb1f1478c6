'use strict';
// What the bridges have in common: this machine's name at the broker, which of two bridges forwards
// while one replaces the other, and a bounded queue for the time in which the broker is away.
const { hostname } = require('node:os');
const { identity } = require('../../worker/node');

// How often the bridge that forwards says so, and for how long the others believe it.
const SAYS_SO = 1000;
const BELIEVED = 3 * SAYS_SO;
// How many messages, and how many bytes of them, may wait for the broker. Beyond that the oldest
// are lost, and counted.
const MOST_WAITING = 20_000;
const MOST_BYTES = 64 << 20;
// How many of them are handed to the broker at once.
const AT_ONCE = 500;
// For how long a bridge that leaves tries to hand over what waits, and to take leave of the broker.
const FINISHES = 4000;
const TAKES_LEAVE = 1000;
const HERE = 'bridge:here';

function list(variable, otherwise = '') {
  return (process.env[variable] ?? otherwise).split(',').filter(Boolean);
}

// A word that no other machine on this broker has, and that outlives restarts.
function host() {
  const name = process.env.BRIDGE_HOST ?? `${hostname()}-${identity()?.app ?? 'bridge'}`;
  return name.replace(/[^A-Za-z0-9_-]/g, '-');
}

// Runs this once, when this bridge is to leave. SIGTERM may come before the supervisor's word on
// the bus, which follows all events that are for this bridge. Without that word it counts after a
// while.
function onLeave(worker, run) {
  let left = null;
  const leave = () => { left ??= run(); };
  worker.onDrain(leave);
  process.on('SIGTERM', () => setTimeout(leave, 2 * SAYS_SO));
}

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

// Waits, but not long: what it waits for may never come if the broker is away.
async function takeLeave(promise) {
  const failed = (error) => console.error(`the broker was left without a word: ${error.message}`);
  await Promise.race([promise.catch(failed), pause(TAKES_LEAVE)]);
}

// Counts for `metrics`: a message of its own for each count would cost more than what is counted.
class Counts {
  #worker;
  #counts = new Map();

  constructor(worker) {
    this.#worker = worker;
    setInterval(() => this.flush(), SAYS_SO / 2).unref();
  }

  add(metric, topic, more = 1) {
    const of = `${metric} ${topic}`;
    const count = this.#counts.get(of) ?? { metric, topic, more: 0 };
    count.more += more;
    this.#counts.set(of, count);
  }

  // What the supervisor does not read now is counted the next time.
  flush() {
    try {
      for (const [of, { metric, topic, more }] of this.#counts) {
        this.#worker.counter(metric, more, { topic });
        this.#counts.delete(of);
      }
    } catch (error) {
      console.error(error.message);
    }
  }
}

// Hands events of the bus to `publish(batch)`, which resolves with the messages that the broker may
// not have, or fails if it may have none.
class Forwarder {
  #worker;
  #publish;
  #counts;
  #waiting = [];
  // What is handed to the broker now, and the bytes of all.
  #batch = [];
  #bytes = 0;
  #running = false;
  #open = false;
  #started = false;
  // The newer bridge, and when it last said that it is here.
  #other = 0;
  #heard = 0;

  constructor(worker, counts, publish) {
    this.#worker = worker;
    this.#counts = counts;
    this.#publish = publish;
  }

  // Subscribes. The newest bridge forwards: the one before stops where it reads the word of this
  // one, and this one begins after it, since the supervisor gives both the same order.
  start(topics) {
    const worker = this.#worker;
    const say = () => {
      try {
        worker.emit(HERE, null);
      } catch (error) {
        console.error(error.message); // The supervisor does not read now.
      }
    };
    worker.on(HERE, (_, from) => {
      if (from.worker <= worker.peer.worker) return;
      this.#other = from.worker;
      this.#heard = performance.now();
    });
    say();
    this.#started = true;
    for (const topic of topics) {
      // With `wait` the bus holds the senders back while this promise is one of too many.
      worker.on(topic, (data, from) => this.#take(topic, data, from), { wait: true });
    }
    setInterval(say, SAYS_SO).unref();
  }

  // Resolves when nothing waits any more, or after a while. What still waits then is lost.
  async finish() {
    const end = performance.now() + FINISHES;
    while ((this.#running || this.#waiting.length > 0) && performance.now() < end) await pause(10);
    this.#open = false;
    this.#started = false;
    this.#settle('bridge_lost', [...this.#batch.splice(0), ...this.#waiting.splice(0)]);
  }

  // Whether this bridge has started, and no newer one says that it is here.
  get isNewest() {
    return this.#started && (this.#other === 0 || performance.now() - this.#heard >= BELIEVED);
  }

  // Whether there is a broker to hand them to.
  set open(open) {
    this.#open = open;
    if (open) this.#run();
  }

  #take(topic, data, from) {
    // What a bridge emits came from the broker. It must not go there again.
    if (from.pool === this.#worker.peer.pool) return undefined;
    if (!this.isNewest) return undefined;
    const text = JSON.stringify(data);
    const size = Buffer.byteLength(text);
    while (this.#waiting.length >= MOST_WAITING
      || (this.#waiting.length > 0 && this.#bytes + size > MOST_BYTES)) {
      this.#settle('bridge_lost', [this.#waiting.shift()]);
    }
    this.#bytes += size;
    return new Promise((done) => {
      this.#waiting.push({ topic, text, size, done });
      this.#run();
    });
  }

  // One batch after the other, in the order of the bus.
  async #run() {
    if (this.#running) return;
    this.#running = true;
    while (this.#open && this.#waiting.length > 0) {
      this.#batch = this.#waiting.splice(0, AT_ONCE);
      // If it fails, the bridge does not know which of them the broker has. At most once: none is
      // sent again.
      const lost = await this.#publish([...this.#batch]).catch(() => [...this.#batch]);
      // It is empty if this bridge has given up meanwhile.
      const batch = this.#batch.splice(0);
      this.#settle('bridge_lost', batch.filter((message) => lost.includes(message)));
      this.#settle('bridge_sent', batch.filter((message) => !lost.includes(message)));
    }
    this.#running = false;
  }

  #settle(metric, batch) {
    for (const { topic, size, done } of batch) {
      this.#bytes -= size;
      this.#counts.add(metric, topic);
      done();
    }
  }
}

module.exports = { Counts, Forwarder, host, list, onLeave, pause, takeLeave };
