'use strict';
// The bus between workers of the supervisor: JSON lines over the inherited channel
// SUPERVISOR_CHANNEL_FD.
// Refuses names and data beyond the bounds of the bus before they are sent, because the supervisor
// cuts off a worker that sends more.

const { EventEmitter } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const { isLeader, untilLeader } = require('./leader.js');
const { Limits } = require('./limits.js');

const VERSION = 1;
// The longest line, newline included, in bytes.
const MAX_FRAME = 1 << 20;
// The longest data of one message, in bytes: a line less what names and numbers may need.
const MAX_DATA = MAX_FRAME - 8 * 1024;
// The longest name of a topic, a pool, an action, a metric or a label, in bytes.
const MAX_NAME = 200;
// The longest text for people, in bytes.
const MAX_TEXT = 1024;
const MAX_LABELS = 8;
// The most requests of one topic that a worker works on at a time.
const MAX_AT_ONCE = 64;
// The most bytes that may wait to be written: 16 MiB. A program that goes on after `emit` has
// returned false gets an error then, because Node cannot make it wait.
const MAX_WAITING = 16 << 20;
// The most unfinished promises of handlers with `wait`: as many events as the supervisor holds for
// one reader.
const MAX_EVENTS = 16 * 1024;
// How long the client stops reading for them, in milliseconds. Afterwards it reads on, until one
// finishes: a handler may itself wait for an answer that must be read.
const ROOM_TIMEOUT = 1000;
// How long the supervisor may take to welcome this worker, in milliseconds. It answers within
// milliseconds; while a new primary takes over, within a few seconds.
const WELCOME_TIMEOUT = 10000;
// How much longer than the supervisor the client waits for an answer, in milliseconds, so that the
// caller gets the supervisor's more precise error.
const GRACE = 2000;
// The longest time limit of a call, in milliseconds.
const MAX_TIMEOUT = 3600000;
// The messages that hold from then on, and those that end them. The client repeats them to a new
// primary.
const REGISTRATIONS = new Set(['subscribe', 'serve', 'action', 'ready', 'draining', 'applied']);
const ENDS = { unsubscribe: 'subscribe', unserve: 'serve' };
const TOO_LATE = 'the supervisor did not answer either';
const LOST = "the supervisor's primary died while the call was under way: whether it was carried "
  + 'out is not known';
const ENDED = 'the channel to the supervisor has ended';
const ALONE = 'there is no supervisor to relay the call, and this worker does not serve it';
const NOT_READ = "the supervisor does not read this worker's channel";
// The sender of what a person on the command line sends.
const PERSON = { worker: 0, slot: 0, pool: '' };

/** Why a call has no answer. `kind` is a word for programs. */
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
  if (text === undefined) throw new TypeError('data must be a value that JSON can express');
  if (Buffer.byteLength(text) > MAX_DATA) {
    throw new RangeError(`data must have at most ${MAX_DATA} bytes`);
  }
  return text;
}

function complain(text) {
  process.stderr.write(`supervisor: ${text}\n`);
}

/** The longest beginning of an error's text that fits into a message. */
function truncated(error) {
  const bytes = Buffer.from(String((error && error.message) || error));
  // A decoder of a stream keeps the last character back if it is cut.
  return new TextDecoder().decode(bytes.subarray(0, MAX_TEXT), { stream: true });
}

/** Which worker this is, as the supervisor set it in the environment; null without one. */
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
    // The topics whose senders must wait.
    this._lossless = new Set();
    // The unfinished promises of their handlers.
    this._unfinished = 0;
    // Runs while the client has stopped reading for them.
    this._roomTimer = null;
    // Whether that time ran out, and none has finished since.
    this._stalled = false;
    this._served = new Map();
    this._actions = new Map();
    this._calls = new Map();
    this._nextCall = 0;
    this._onDrain = [];
    this._configure = null;
    // The newest shared values: version, data, and why the client does not obey their limits.
    this._config = null;
    // The values and the handler of the last run, and whether one is under way.
    this._applied = [null, null];
    this._applying = false;
    this._limits = new Limits((refused, held) => this._reportLimits(refused, held));
    this._registrations = new Map();
    // The beginning of a line whose end has not come yet.
    this._rest = [];
    this._restBytes = 0;
    this._socket = socket;
    /** The identity of this worker on the bus. Worker 0 before it has joined. */
    this.peer = { worker: 0, slot: 0, pool: '' };
    /** Whether this worker gets no new connections any more. */
    this.draining = false;
    /** Handlers that threw or rejected. */
    this.failures = 0;
    /** Messages to this worker that the supervisor had to drop. */
    this.dropped = 0;
    /**
     * Resolves when the supervisor has welcomed this worker, or at once without a supervisor.
     * Rejects if that takes more than 10 seconds.
     */
    this.joined = socket ? new Promise((resolve, reject) => {
      this._welcomed = resolve;
      this._refused = (why) => reject(new Error(`cannot join the supervisor's bus: ${why}`));
    }) : Promise.resolve(this);
    // A program that does not wait for it must not end by an unhandled rejection.
    this.joined.catch(() => {});
    if (!socket) return;
    this._welcomeTimer = setTimeout(() => {
      this._refused('no answer');
      socket.destroy();
    }, WELCOME_TIMEOUT);
    socket.on('data', (bytes) => this._receive(bytes));
    socket.on('error', () => {});
    socket.on('close', () => this._end());
    socket.unref();
    this._hello = `{"hello":${JSON.stringify({
      oldest: 1, newest: VERSION, client: `node ${process.version}`, pool,
    })}}`;
    this._write(this._hello);
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
    if (first || (wait && !this._lossless.has(topic))) {
      if (wait) this._lossless.add(topic);
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

  /**
   * Gives data to all handlers in all workers, this one included. `false`: much waits to be
   * written.
   */
  emit(topic, data) {
    const text = json(data);
    name('topic', topic);
    if (this._handlers.listenerCount(topic) > 0) {
      const copy = JSON.parse(text);
      queueMicrotask(() => this._deliver(topic, copy, this.peer));
    }
    return this._write(`{"emit":{"topic":${JSON.stringify(topic)},"data":${text}}}`);
  }

  /** Gives data to the handlers in one slot's worker. */
  send(slot, topic, data) {
    const to = `"slot":${Number(slot)},"topic":${JSON.stringify(name('topic', topic))}`;
    return this._write(`{"send":{${to},"data":${json(data)}}}`);
  }

  _deliver(topic, data, from) {
    const failed = (error) => {
      this.failures += 1;
      const why = error && error.stack ? error.stack : error;
      complain(`a handler of ${JSON.stringify(topic)} failed: ${why}`);
    };
    const handlers = this._handlers.rawListeners(topic);
    for (const handler of handlers) {
      try {
        const done = handler.call(this, data, from);
        if (done && typeof done.then === 'function') this._await(topic, done, failed);
      } catch (error) {
        failed(error);
      }
    }
    if (handlers.length > 0) this._maybeUnsubscribe(topic);
  }

  // Where the senders must wait, the client reads no faster than the promises of handlers finish.
  _await(topic, promise, failed) {
    if (!this._lossless.has(topic)) {
      promise.then(undefined, failed);
      return;
    }
    this._unfinished += 1;
    const finished = () => {
      this._unfinished -= 1;
      this._stalled = false;
      if (this._unfinished < MAX_EVENTS) this._readOn();
    };
    promise.then(finished, (error) => {
      failed(error);
      finished();
    });
    if (this._unfinished < MAX_EVENTS || this._stalled || this._roomTimer || !this._socket) return;
    this._socket.pause();
    // Keeps the process alive: a paused socket does not.
    this._roomTimer = setTimeout(() => {
      this._stalled = true;
      this._readOn();
    }, ROOM_TIMEOUT);
  }

  _readOn() {
    if (!this._roomTimer) return;
    clearTimeout(this._roomTimer);
    this._roomTimer = null;
    if (this._socket) this._socket.resume();
  }

  _maybeUnsubscribe(topic) {
    if (this._handlers.listenerCount(topic) === 0) {
      this._lossless.delete(topic);
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
    const ms = Math.min(Math.max(1, Math.round(timeout)), MAX_TIMEOUT);
    const id = ++this._nextCall;
    return new Promise((resolve, reject) => {
      const late = () => this._done(id, null, new CallError('timed-out', TOO_LATE));
      const timer = setTimeout(late, ms + GRACE);
      this._calls.set(id, { resolve, reject, timer });
      const rest = JSON.stringify({ id, pool, topic, timeout_ms: ms, retry: Boolean(retry) });
      try {
        this._write(`{"call":${rest.slice(0, -1)},"data":${text}}}`);
      } catch (error) {
        this._done(id, null, error);
      }
    });
  }

  async _callHere(topic, text) {
    const served = this._served.get(topic);
    if (!served) {
      throw new CallError('alone', ALONE);
    }
    try {
      return await served(JSON.parse(text), this.peer);
    } catch (error) {
      throw new CallError('failed', truncated(error));
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

  /** Answers requests on this topic, of which up to `atOnce` (1 to 64) come at a time. */
  serve(topic, handler, { atOnce = 1 } = {}) {
    this._served.set(name('topic', topic), handler);
    this._tell('serve', { topic, at_once: Math.min(Math.max(1, atOnce), MAX_AT_ONCE) });
    this._hold();
    return this;
  }

  /** Stops answering requests on this topic. Those that came already are still answered. */
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

  async _answer(id, table, of, data, from) {
    let answer;
    try {
      const handler = table.get(of);
      if (!handler) throw new Error(`this worker does not serve ${JSON.stringify(of)}`);
      answer = `{"answer":{"id":${id},"data":${json(await handler(data, from))}}}`;
    } catch (error) {
      answer = `{"fail":${JSON.stringify({ id, message: truncated(error) })}}`;
    }
    this._writeAlways(answer);
  }

  // ---- metrics, configuration, life

  /** Sets a value that goes up and down. */
  gauge(metric, value, labels) { this._metric('gauge', metric, value, '', labels); }

  /** Adds to a value that only grows. */
  counter(metric, more = 1, labels = {}) { this._metric('counter', metric, more, '', labels); }

  /** Adds one observation, in seconds. */
  histogram(metric, value, labels) { this._metric('histogram', metric, value, 'seconds', labels); }

  _metric(kind, metric, value, unit, labels = {}) {
    name("metric's name", metric);
    if (!Number.isFinite(value) || (kind === 'counter' && value < 0)) {
      throw new RangeError(
        "a metric's value must be a finite number, and a counter's not negative",
      );
    }
    const pairs = Object.entries(labels).map(([label, value]) => {
      const text = String(value);
      return [name("label's name", label), text && name("label's value", text)];
    });
    if (pairs.length > MAX_LABELS) {
      throw new RangeError(`a metric must have at most ${MAX_LABELS} labels`);
    }
    this._tell('metric', { name: metric, kind, value, unit, labels: pairs });
  }

  /** Runs for the values that all workers share, now if there are any, and when they change. */
  onConfig(handler) {
    this._configure = handler;
    this._apply();
    this._hold();
    return this;
  }

  _learn({ version, data = null }) {
    let error = null;
    try {
      this._limits.configure(data);
    } catch (failure) {
      error = truncated(failure);
    }
    this._config = { version, data, error };
    this._apply();
  }

  // Runs the program's handler for the newest values, once for each handler and values, and reports
  // the result. If values or a handler come while one runs, that run goes on with them.
  async _apply() {
    if (this._applying) return;
    this._applying = true;
    for (;;) {
      const [values, configure] = [this._config, this._configure];
      const [hadValues, hadHandler] = this._applied;
      if (!values || (values === hadValues && configure === hadHandler)) break;
      this._applied = [values, configure];
      let { error } = values;
      try {
        if (configure) await configure(values.data);
      } catch (failure) {
        error = truncated(failure);
      }
      this._tell('applied', { version: values.version, error });
    }
    this._applying = false;
  }

  /**
   * Whether one more request is within the rate of [shared.limits]: `{ ok, wait, retryAfter }`.
   * `wait` is the time until the next one is, in milliseconds; `retryAfter` the same in whole
   * seconds, for the header Retry-After.
   */
  admit() { return this._limits.admit(); }

  /**
   * Makes a server (of net, tls, http or https) serve no more connections at a time than
   * [shared.limits] allows. Further ones wait, accepted and unread, until others are closed.
   */
  limit(server) { return this._limits.attach(server); }

  /** How many connections limited servers serve. */
  get connections() { return this._limits.open; }

  _reportLimits(refused, held) {
    try {
      if (refused > 0) this.counter('requests_limited', refused);
      this.gauge('connections_held', held);
    } catch {
      // The supervisor does not read. The program gets this error when it sends something itself.
    }
  }

  /** Runs this once when this worker gets no new connections any more. */
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
        complain(`a handler of draining failed: ${error.stack}`);
      }
    }
  }

  /** Tells the supervisor that this worker serves. */
  ready() { this._tell('ready', {}); }

  /** Tells the supervisor that this worker is about to leave by itself. */
  leaving() { this._tell('draining', {}); }

  /** Leaves the bus. What this worker has sent is still written. */
  leave() {
    if (this._socket) this._socket.end();
  }

  // ---- channel

  /** The channel keeps the process alive while the program has handlers. */
  _hold() {
    if (!this._socket) return;
    const needed = this._served.size + this._actions.size + this._handlers.eventNames().length;
    if (needed > 0 || this._configure) this._socket.ref();
    else this._socket.unref();
  }

  _tell(word, message) {
    const of = (kind) => `${kind} ${message.topic ?? message.name ?? ''}`;
    const line = `{"${word}":${JSON.stringify(message)}}`;
    if (REGISTRATIONS.has(word)) this._registrations.set(of(word), line);
    else if (ENDS[word]) this._registrations.delete(of(ENDS[word]));
    return word === 'applied' || word === 'pong' ? this._writeAlways(line) : this._write(line);
  }

  _write(line) {
    if (this._socket && this._socket.writableLength > MAX_WAITING) throw new Error(NOT_READ);
    return this._writeAlways(line);
  }

  /** Writes a reply to the supervisor, which bounds their number, however much waits. */
  _writeAlways(line) {
    return this._socket ? this._socket.write(`${line}\n`) : true;
  }

  _receive(bytes) {
    let from = 0;
    for (;;) {
      const end = bytes.indexOf(10, from);
      if (end < 0) break;
      this._rest.push(bytes.subarray(from, end));
      const line = this._rest.length === 1 ? this._rest[0] : Buffer.concat(this._rest);
      this._rest = [];
      this._restBytes = 0;
      from = end + 1;
      if (line.length > 0) this._dispatch(line);
    }
    this._rest.push(bytes.subarray(from));
    this._restBytes += bytes.length - from;
    if (this._restBytes > MAX_FRAME) this._socket.destroy();
  }

  _dispatch(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch (error) {
      complain(`cannot read a message of the supervisor: ${error.message}`);
      this._socket.destroy();
      return;
    }
    const [word] = Object.keys(message);
    const content = message[word];
    switch (word) {
      case 'welcome':
        clearTimeout(this._welcomeTimer);
        this.peer = content.you;
        this._welcomed(this);
        break;
      case 'refused':
        complain(`this worker was cut off from the bus: ${content.reason}`);
        this._refused(content.reason);
        break;
      case 'event': this._deliver(content.topic, content.data, content.from); break;
      case 'call':
        this._answer(content.id, this._served, content.topic, content.data, content.from);
        break;
      case 'trigger':
        this._answer(content.id, this._actions, content.action, content.data, { ...PERSON });
        break;
      case 'answer': this._done(content.id, content.data); break;
      case 'error': {
        const { id, kind, message: text } = content;
        this._done(id, null, new CallError(kind, text));
        break;
      }
      case 'config': this._learn(content); break;
      case 'drain': this._drain(); break;
      case 'dropped': this.dropped = content.count; break;
      case 'resumed': this._resume(); break;
      case 'ping': this._tell('pong', { id: content.id }); break;
      default: break; // A message of a newer supervisor.
    }
  }

  /** A new primary has taken over. It does not know the last registrations, and no calls. */
  _resume() {
    for (const id of [...this._calls.keys()]) this._done(id, null, new CallError('lost', LOST));
    if (this.peer.worker === 0) this._writeAlways(this._hello);
    for (const line of this._registrations.values()) this._writeAlways(line);
  }

  _end() {
    this._socket = null;
    clearTimeout(this._welcomeTimer);
    clearTimeout(this._roomTimer);
    this._refused(ENDED);
    for (const id of [...this._calls.keys()]) this._done(id, null, new CallError('alone', ENDED));
  }
}

function inherited() {
  const number = process.env.SUPERVISOR_CHANNEL_FD;
  if (number === undefined) return null;
  // A program that this one starts must not take the channel too.
  delete process.env.SUPERVISOR_CHANNEL_FD;
  const fd = Number(number);
  if (!Number.isInteger(fd) || !fs.fstatSync(fd).isSocket()) {
    throw new Error(`SUPERVISOR_CHANNEL_FD=${number}: not an open socket`);
  }
  return new net.Socket({ fd, readable: true, writable: true });
}

let only = null;

/** Joins the bus of the supervisor. Returns the same worker each time. */
function join({ pool = '' } = {}) {
  only ??= new Worker(inherited(), pool);
  return only;
}

module.exports = { join, identity, isLeader, untilLeader, Worker, CallError };
