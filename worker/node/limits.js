'use strict';
// The limits that the app's configuration sets ([shared.limits]): how many connections are served
// at a time, and how many requests come in a second.
// Values that are no limits are refused, and the limits stay as they are.

const { performance } = require('node:perf_hooks');

// The least time between two reports, in milliseconds, so that a flood of requests is not also a
// flood of messages.
const REPORT_INTERVAL = 1000;
// The longest time that a refused request is told to wait, in milliseconds.
const MAX_WAIT = 3600000;

/** The limits among the shared values. An error says what is wrong, as in all languages. */
function read(values) {
  const table = values?.limits ?? {};
  if (typeof table !== 'object' || Array.isArray(table)) {
    throw new TypeError('invalid limits: not a table');
  }
  const { connections = 0, rate = 0, burst = rate } = table;
  for (const [key, number] of Object.entries({ connections, rate, burst })) {
    if (!Number.isFinite(number) || number < 0) {
      throw new TypeError(`invalid limits: ${key} is not a number of 0 or more`);
    }
  }
  return { connections: connections || Infinity, rate, burst: Math.max(1, burst) };
}

/** A request takes a token, and tokens come back at a steady rate. */
class TokenBucket {
  constructor() {
    // The tokens that come back in a second. 0: there is no limit.
    this._rate = 0;
    // The most tokens that it holds.
    this._burst = 1;
    this._tokens = 1;
    this._filled = 0;
  }

  /** Sets another rate and size. The tokens stay, as far as they fit. */
  resize(rate, burst) {
    this._fill();
    this._tokens = this._rate === 0 ? burst : Math.min(burst, this._tokens);
    this._rate = rate;
    this._burst = burst;
  }

  /** Takes a token. Returns the milliseconds until there will be one, or 0. */
  take() {
    if (this._rate === 0) return 0;
    this._fill();
    if (this._tokens >= 1) {
      this._tokens -= 1;
      return 0;
    }
    return Math.min(MAX_WAIT, ((1 - this._tokens) / this._rate) * 1000);
  }

  _fill() {
    const now = performance.now();
    const more = ((now - this._filled) / 1000) * this._rate;
    this._tokens = Math.min(this._burst, this._tokens + more);
    this._filled = now;
  }
}

/** Makes a paused socket flow as it does by itself: as soon as there is a listener. */
function flow(socket) {
  if (socket.listenerCount('data') > 0) {
    socket.resume();
    return;
  }
  socket.on('newListener', function listens(event) {
    if (event !== 'data') return;
    socket.off('newListener', listens);
    socket.resume();
  });
}

class Limits {
  /** `report(refused, held)`: the requests refused since, and the connections that wait. */
  constructor(report) {
    this._report = report;
    this._connections = Infinity;
    this._bucket = new TokenBucket();
    this._refused = 0;
    this._timer = null;
    this._reported = 0;
    this._held = [];
    /** The connections that are served. */
    this.open = 0;
  }

  configure(values) {
    const { connections, rate, burst } = read(values);
    this._bucket.resize(rate, burst);
    this._connections = connections;
    this._serveHeld();
  }

  admit() {
    const wait = this._bucket.take();
    if (wait === 0) return { ok: true, wait, retryAfter: 0 };
    this._refused += 1;
    this._reportSoon();
    return { ok: false, wait, retryAfter: Math.max(1, Math.ceil(wait / 1000)) };
  }

  /** See Worker.limit. */
  attach(server) {
    let serving = false;
    // Nothing is read from a connection that waits.
    Object.defineProperty(server, 'pauseOnConnect', {
      configurable: true,
      get: () => !serving && this.open >= this._connections,
    });
    const emit = server.emit;
    server.emit = (event, ...rest) => {
      if (event !== 'connection') return emit.call(server, event, ...rest);
      const [socket] = rest;
      const serve = () => {
        this.open += 1;
        socket.once('close', () => {
          this.open -= 1;
          this._serveHeld();
        });
        serving = true;
        try {
          return emit.call(server, event, ...rest);
        } finally {
          serving = false;
        }
      };
      if (this.open < this._connections) return serve();
      this._held.push(() => {
        serve();
        flow(socket);
      });
      this._reportSoon();
      return true;
    };
    // While connections wait, a client must not keep its own for later requests.
    server.prependListener('request', (request, response) => {
      if (this._held.length > 0 && !response.headersSent) response.setHeader('connection', 'close');
    });
    return server;
  }

  _serveHeld() {
    while (this._held.length > 0 && this.open < this._connections) {
      this._held.shift()();
      this._reportSoon();
    }
  }

  _reportSoon() {
    if (this._timer) return;
    const since = performance.now() - this._reported;
    this._timer = setTimeout(() => {
      this._timer = null;
      this._reported = performance.now();
      this._report(this._refused, this._held.length);
      this._refused = 0;
    }, this._reported === 0 ? 0 : Math.max(0, REPORT_INTERVAL - since));
    this._timer.unref();
  }
}

module.exports = { Limits };
