'use strict';
// Workers under the supervisor talk: JSON lines over the inherited channel SUPERVISOR_CHANNEL_FD.
// Refuses names and data beyond the bus's bounds before they are sent: the supervisor would cut
// this worker off.

const { EventEmitter } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const { Limits } = require('./limits.js');

const VERSION = 1;
const MAX_FRAME = 1 << 20;
const MAX_DATA = MAX_FRAME - 8 * 1024;
const MAX_NAME = 200;
const MAX_TEXT = 1024;
// Bytes that may wait to be written.
const MAX_WAITING = 16 << 20;
// What lasts is said again when another primary goes on; what ends it takes it out.
const LASTING = new Set(['subscribe', 'serve', 'action', 'ready', 'draining', 'applied']);
const ENDING = { unsubscribe: 'subscribe', unserve: 'serve' };
const LOST = "the supervisor's primary died while the call was under way: whether it was carried "
  + 'out is not known';
// How much later than the supervisor we ourselves give up.
const GRACE = 2000;

/** Why a call has no answer; `kind` says it for programs. */
class CallError extends Error {
  constructor(kind, message) {
    super(message);
    this.name = 'CallError';
    this.kind = kind;
  }
}

function name(what, text) {
  const ok = typeof text === 'string' && text.length > 0 && Buffer.byteLength(text) <= MAX_NAME;
  // eslint-disable-next-line no-control-regex
  if (!ok || /[\u0000-\u001f\u007f-\u009f]/.test(text)) {
    throw new RangeError(`a ${what} must have 1 to ${MAX_NAME} bytes and no control characters`);
  }
  return text;
}

function json(data) {
  const text = JSON.stringify(data === undefined ? null : data);
  if (text === undefined) throw new TypeError('data must be what JSON can say');
  if (Buffer.byteLength(text) > MAX_DATA) {
    throw new RangeError(`data must have at most ${MAX_DATA} bytes`);
  }
  return text;
}

function short(error) {
  let text = String((error && error.message) || error);
  while (Buffer.byteLength(text) > MAX_TEXT) text = text.slice(0, -1 - text.length / 50);
  return text;
}

/** Which worker this is, as the supervisor told it at its start; null without one. */
function identity() {
  const {
    SUPERVISOR_APP: app, SUPERVISOR_SLOT: slot, SUPERVISOR_POOL: pool = 'default',
    SUPERVISOR_WORKERS: workers, SUPERVISOR_GENERATION: generation,
  } = process.env;
  const numbers = [slot, workers, generation].map((text) => Number(text || NaN));
  if (app === undefined || !numbers.every(Number.isInteger)) return null;
  return { app, slot: numbers[0], pool, workers: numbers[1], generation: numbers[2] };
}

class Worker {
  constructor(socket, pool) {
    this._handlers = new EventEmitter();
    this._waits = new Set();
    this._served = new Map();
    this._actions = new Map();
    this._calls = new Map();
    this._nextCall = 0;
    this._onDrain = [];
    this._configure = null;
    // The newest shared values: version, data, and why their limits do not hold.
    this._config = null;
    this._limits = new Limits((limited, held) => this._tellLimits(limited, held));
    this._standing = new Map();
    this._rest = [];
    this._restBytes = 0;
    this._socket = socket;
    /** Who this is on the bus, once joined. */
    this.peer = { worker: 0, slot: 0, pool: '' };
    /** Whether this worker gets no new connections any more. */
    this.draining = false;
    /** Handlers that threw or rejected. */
    this.failures = 0;
    /** Messages to this worker that the supervisor had to drop. */
    this.dropped = 0;
    /** Resolves when the supervisor has said welcome, or at once without one. */
    this.joined = socket ? new Promise((resolve, reject) => {
      this._welcome = resolve;
      this._refused = reject;
    }) : Promise.resolve(this);
    // Nobody needs to wait for it.
    this.joined.catch(() => {});
    if (!socket) return;
    socket.on('data', (bytes) => this._take(bytes));
    socket.on('error', () => {});
    socket.on('close', () => this._end());
    socket.unref();
    this._hello = `{"hello":${JSON.stringify({
      oldest: 1, newest: VERSION, client: `node ${process.version}`, pool,
    })}}`;
    this._say(this._hello);
  }

  /** Whether there is no bus: no supervisor, or its channel has ended. */
  get alone() {
    return this._socket === null;
  }

  // ---- events

  on(topic, handler, { wait = false } = {}) {
    return this._listen('on', topic, handler, wait);
  }

  once(topic, handler) {
    return this._listen('once', topic, handler, false);
  }

  _listen(word, topic, handler, wait) {
    name('topic', topic);
    const first = this._handlers.listenerCount(topic) === 0;
    this._handlers[word](topic, handler);
    if (first || (wait && !this._waits.has(topic))) {
      if (wait) this._waits.add(topic);
      this._tell('subscribe', { topic, when_full: wait ? 'wait' : 'drop-oldest' });
    }
    this._hold();
    return this;
  }

  off(topic, handler) {
    const before = this._handlers.listenerCount(topic);
    if (handler === undefined) this._handlers.removeAllListeners(topic);
    else this._handlers.off(topic, handler);
    if (before > 0) this._maybeUnsubscribe(topic);
    return this;
  }

  addListener(topic, handler) { return this.on(topic, handler); }

  removeListener(topic, handler) { return this.off(topic, handler); }

  listenerCount(topic) { return this._handlers.listenerCount(topic); }

  setMaxListeners(most) {
    this._handlers.setMaxListeners(most);
    return this;
  }

  /** To all handlers in all workers, this one included. `false`: much waits to be written. */
  emit(topic, data) {
    const text = json(data);
    name('topic', topic);
    if (this._handlers.listenerCount(topic) > 0) {
      const copy = JSON.parse(text);
      queueMicrotask(() => this._deliver(topic, copy, this.peer));
    }
    return this._say(`{"emit":{"topic":${JSON.stringify(topic)},"data":${text}}}`);
  }

  /** To one slot's worker. */
  send(slot, topic, data) {
    const to = `"slot":${Number(slot)},"topic":${JSON.stringify(name('topic', topic))}`;
    return this._say(`{"send":{${to},"data":${json(data)}}}`);
  }

  _deliver(topic, data, from) {
    const failed = (error) => {
      this.failures += 1;
      const why = error && error.stack ? error.stack : error;
      process.stderr.write(`supervisor: a handler of ${JSON.stringify(topic)} failed: ${why}\n`);
    };
    const handlers = this._handlers.rawListeners(topic);
    for (const handler of handlers) {
      try {
        const done = handler.call(this, data, from);
        if (done && typeof done.then === 'function') done.then(undefined, failed);
      } catch (error) {
        failed(error);
      }
    }
    if (handlers.length > 0) this._maybeUnsubscribe(topic);
  }

  _maybeUnsubscribe(topic) {
    if (this._handlers.listenerCount(topic) === 0) {
      this._waits.delete(topic);
      this._tell('unsubscribe', { topic });
      this._hold();
    }
  }

  // ---- calls

  /** Asks an idle worker of a pool; '' is the caller's own. */
  call(pool, topic, data, { timeout = 30000, retry = false } = {}) {
    if (pool !== '') name('pool', pool);
    name('topic', topic);
    const text = json(data);
    if (this.alone) return this._callHere(topic, text);
    const ms = Math.min(Math.max(1, Math.round(timeout)), 3600000);
    const id = ++this._nextCall;
    return new Promise((resolve, reject) => {
      const late = () => this._done(id, null, new CallError('timed-out', 'no answer in time'));
      const timer = setTimeout(late, ms + GRACE);
      this._calls.set(id, { resolve, reject, timer });
      const rest = JSON.stringify({ id, pool, topic, timeout_ms: ms, retry: Boolean(retry) });
      try {
        this._say(`{"call":${rest.slice(0, -1)},"data":${text}}}`);
      } catch (error) {
        this._done(id, null, error);
      }
    });
  }

  async _callHere(topic, text) {
    const served = this._served.get(topic);
    if (!served) {
      throw new CallError('alone', 'there is no supervisor, and nothing here serves the call');
    }
    try {
      return await served(JSON.parse(text), this.peer);
    } catch (error) {
      throw new CallError('failed', short(error));
    }
  }

  _done(id, data, error) {
    const call = this._calls.get(id);
    if (!call) return;
    this._calls.delete(id);
    clearTimeout(call.timer);
    if (error) call.reject(error);
    else call.resolve(data);
  }

  /** Answers calls on this topic. */
  serve(topic, handler, { atOnce = 1 } = {}) {
    this._served.set(name('topic', topic), handler);
    this._tell('serve', { topic, at_once: Math.min(Math.max(1, atOnce), 64) });
    this._hold();
    return this;
  }

  unserve(topic) {
    this._served.delete(topic);
    this._tell('unserve', { topic });
    this._hold();
    return this;
  }

  /** Lets people trigger this: `supervisor trigger NAME ACTION`. */
  action(action, handler) {
    this._actions.set(name("action's name", action), handler);
    this._tell('action', { name: action });
    this._hold();
    return this;
  }

  async _answer(id, handler, data, from) {
    let answer;
    try {
      if (!handler) throw new Error('this worker does not serve that any more');
      answer = `{"answer":{"id":${id},"data":${json(await handler(data, from))}}}`;
    } catch (error) {
      answer = `{"fail":${JSON.stringify({ id, message: short(error) })}}`;
    }
    this._say(answer);
  }

  // ---- metrics, configuration, life

  gauge(metric, value, labels) { this._metric('gauge', metric, value, '', labels); }

  counter(metric, more = 1, labels = {}) { this._metric('counter', metric, more, '', labels); }

  /** One observation, in seconds. */
  histogram(metric, value, labels) { this._metric('histogram', metric, value, 'seconds', labels); }

  _metric(kind, metric, value, unit, labels = {}) {
    name("metric's name", metric);
    if (!Number.isFinite(value) || (kind === 'counter' && value < 0)) {
      throw new RangeError("a metric's value must be a finite number, and a counter's not negative");
    }
    const pairs = Object.entries(labels).map(([label, of]) => [name('label', label), String(of)]);
    if (pairs.length > 8) throw new RangeError('a metric must have at most 8 labels');
    this._tell('metric', { name: metric, kind, value, unit, labels: pairs });
  }

  /** Runs for the values that all workers share, now if there are any, and when they change. */
  onConfig(handler) {
    this._configure = handler;
    this._apply();
    this._hold();
    return this;
  }

  _learn({ version, data }) {
    let error = null;
    try {
      this._limits.configure(data);
    } catch (failure) {
      error = short(failure);
    }
    this._config = { version, data, error };
    this._apply();
  }

  // Has the program take the newest values, and says what it made of them. Where this runs twice
  // at a time, who took older ones takes the newest after them.
  async _apply() {
    for (let known = null; this._config !== known;) {
      known = this._config;
      let { error } = known;
      try {
        if (this._configure) await this._configure(known.data);
      } catch (failure) {
        error = short(failure);
      }
      this._tell('applied', { version: known.version, error });
    }
  }

  /**
   * Whether one more request is within the rate of [shared.limits]: `{ ok, wait, retryAfter }`,
   * the milliseconds until the next one is, and whole seconds for the header Retry-After.
   */
  admit() { return this._limits.admit(); }

  /**
   * From now on this server (of net, tls, http or https) serves no more connections at a time
   * than [shared.limits] says; further ones wait, accepted and unread, until others are closed.
   */
  limit(server) { return this._limits.attach(server); }

  /** How many connections limited servers serve. */
  get connections() { return this._limits.open; }

  _tellLimits(limited, held) {
    try {
      if (limited > 0) this.counter('requests_limited', limited);
      this.gauge('connections_held', held);
    } catch {
      // Nobody reads the channel: whoever says something else hears of it.
    }
  }

  onDrain(run) {
    if (this.draining) queueMicrotask(run);
    else this._onDrain.push(run);
    return this;
  }

  _drain() {
    this.draining = true;
    for (const run of this._onDrain.splice(0)) {
      try {
        run();
      } catch (error) {
        this.failures += 1;
        process.stderr.write(`supervisor: a handler of draining failed: ${error.stack}\n`);
      }
    }
  }

  /** Says that this worker serves. */
  ready() { this._tell('ready', {}); }

  /** Says that this worker is about to leave by itself. */
  leaving() { this._tell('draining', {}); }

  /** Leaves the bus; what was said before is still written. */
  leave() {
    if (this._socket) this._socket.end();
  }

  // ---- wire

  /** While somebody here waits for others, the process lives. */
  _hold() {
    if (!this._socket) return;
    const needed = this._served.size + this._actions.size + this._handlers.eventNames().length;
    if (needed > 0 || this._configure) this._socket.ref();
    else this._socket.unref();
  }

  _tell(word, message) {
    const of = (kind) => `${kind} ${message.topic ?? message.name ?? ''}`;
    if (LASTING.has(word)) this._standing.set(of(word), [word, message]);
    else if (ENDING[word]) this._standing.delete(of(ENDING[word]));
    return this._say(`{"${word}":${JSON.stringify(message)}}`);
  }

  _say(line) {
    if (!this._socket) return true;
    if (this._socket.writableLength > MAX_WAITING) {
      throw new Error('the supervisor does not read this worker\'s channel: too much waits');
    }
    return this._socket.write(`${line}\n`);
  }

  _take(bytes) {
    let from = 0;
    for (;;) {
      const end = bytes.indexOf(10, from);
      if (end < 0) break;
      this._rest.push(bytes.subarray(from, end));
      const line = this._rest.length === 1 ? this._rest[0] : Buffer.concat(this._rest);
      this._rest = [];
      this._restBytes = 0;
      from = end + 1;
      if (line.length > 0) this._line(line);
    }
    this._rest.push(bytes.subarray(from));
    this._restBytes += bytes.length - from;
    if (this._restBytes > MAX_FRAME) this._socket.destroy();
  }

  _line(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch (error) {
      process.stderr.write(`supervisor: the bus sent what cannot be read: ${error.message}\n`);
      this._socket.destroy();
      return;
    }
    const [word] = Object.keys(message);
    const said = message[word];
    switch (word) {
      case 'welcome':
        this.peer = said.you;
        this._welcome(this);
        break;
      case 'refused':
        process.stderr.write(`supervisor: this worker was cut off from the bus: ${said.reason}\n`);
        this._refused(new Error(said.reason));
        break;
      case 'event': this._deliver(said.topic, said.data, said.from); break;
      case 'call': this._answer(said.id, this._served.get(said.topic), said.data, said.from); break;
      case 'trigger':
        this._answer(said.id, this._actions.get(said.action), said.data, this.peer);
        break;
      case 'answer': this._done(said.id, said.data); break;
      case 'error': this._done(said.id, null, new CallError(said.kind, said.message)); break;
      case 'config': this._learn(said); break;
      case 'drain': this._drain(); break;
      case 'dropped': this.dropped = said.count; break;
      case 'resumed': this._resume(); break;
      case 'ping': this._tell('pong', { id: said.id }); break;
      default: break; // Of a newer supervisor.
    }
  }

  /** Another primary goes on: it has not heard the last of what lasts, and no calls. */
  _resume() {
    for (const id of [...this._calls.keys()]) this._done(id, null, new CallError('lost', LOST));
    // However much waits to be written: it must be said, and it is bounded.
    if (this.peer.worker === 0) this._socket.write(`${this._hello}\n`);
    for (const [word, message] of this._standing.values()) {
      this._socket.write(`{"${word}":${JSON.stringify(message)}}\n`);
    }
  }

  _end() {
    this._socket = null;
    if (this._refused) this._refused(new Error('the channel to the supervisor has ended'));
    for (const id of [...this._calls.keys()]) {
      this._done(id, null, new CallError('alone', 'the channel to the supervisor has ended'));
    }
  }
}

function inherited() {
  const number = process.env.SUPERVISOR_CHANNEL_FD;
  if (number === undefined) return null;
  // Programs that this one starts do not have it.
  delete process.env.SUPERVISOR_CHANNEL_FD;
  const fd = Number(number);
  if (!Number.isInteger(fd) || !fs.fstatSync(fd).isSocket()) {
    throw new Error(`SUPERVISOR_CHANNEL_FD=${number} is no open socket`);
  }
  return new net.Socket({ fd, readable: true, writable: true });
}

let only = null;

/** Joins the bus of the supervisor above; the same worker each time. */
function join({ pool = '' } = {}) {
  only ??= new Worker(inherited(), pool);
  return only;
}

module.exports = { join, identity, Worker, CallError };
