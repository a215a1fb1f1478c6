'use strict';
// Limits that the app's configuration sets ([shared.limits]) and that hold from one moment to the
// next: how many connections are served at a time, and how many requests come in a second.
// Refuses values that are no limits, and keeps those that it has.

const { performance } = require('node:perf_hooks');

// How often it is told at most what was limited, in milliseconds.
const TELL = 1000;
// The longest that a request is told to wait, in milliseconds.
const LONGEST = 3600000;

/** What was asked for, or why it is no limit. */
function read(values) {
  const { connections = 0, rate = 0, burst = rate } = (values && values.limits) || {};
  for (const [what, number] of Object.entries({ connections, rate, burst })) {
    if (!Number.isFinite(number) || number < 0) {
      throw new TypeError(`these are no limits: ${what} is no number`);
    }
  }
  return { connections: connections || Infinity, rate, burst: Math.max(1, burst) };
}

/** What was paused flows as it does by itself: as soon as somebody listens. */
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
  /** `tell(limited, held)`: so many requests were refused since, so many connections wait. */
  constructor(tell) {
    this._tell = tell;
    this._connections = Infinity;
    this._rate = 0;
    this._burst = 1;
    this._tokens = 1;
    this._filled = 0;
    this._limited = 0;
    this._timer = null;
    this._told = 0;
    this._held = [];
    /** Connections that are served. */
    this.open = 0;
  }

  configure(values) {
    const { connections, rate, burst } = read(values);
    this._fill();
    this._tokens = this._rate === 0 ? burst : Math.min(burst, this._tokens);
    this._connections = connections;
    this._rate = rate;
    this._burst = burst;
    this._serveHeld();
  }

  _fill() {
    const now = performance.now();
    const came = ((now - this._filled) / 1000) * this._rate;
    this._tokens = Math.min(this._burst, this._tokens + came);
    this._filled = now;
  }

  admit() {
    if (this._rate === 0) return { ok: true, wait: 0, retryAfter: 0 };
    this._fill();
    if (this._tokens >= 1) {
      this._tokens -= 1;
      return { ok: true, wait: 0, retryAfter: 0 };
    }
    this._limited += 1;
    this._tellSoon();
    const wait = Math.min(LONGEST, ((1 - this._tokens) / this._rate) * 1000);
    return { ok: false, wait, retryAfter: Math.max(1, Math.ceil(wait / 1000)) };
  }

  /** See Worker.limit. */
  attach(server) {
    let serving = false;
    // Nothing is read from a connection before it is its turn.
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
      this._tellSoon();
      return true;
    };
    // A client that keeps its connection for later requests does not make others wait for them.
    server.prependListener('request', (request, response) => {
      if (this._held.length > 0 && !response.headersSent) response.setHeader('connection', 'close');
    });
    return server;
  }

  _serveHeld() {
    while (this._held.length > 0 && this.open < this._connections) {
      this._held.shift()();
      this._tellSoon();
    }
  }

  _tellSoon() {
    if (this._timer) return;
    const since = performance.now() - this._told;
    this._timer = setTimeout(() => {
      this._timer = null;
      this._told = performance.now();
      this._tell(this._limited, this._held.length);
      this._limited = 0;
    }, this._told === 0 ? 0 : Math.max(0, TELL - since));
    this._timer.unref();
  }
}

module.exports = { Limits };
