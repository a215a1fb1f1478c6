'use strict';
// Runs before the program of a Node worker. Over the channel that Node has with its primary, it
// reports to the supervisor how late the event loop is and how much of the heap is used, and it
// closes kept connections when the worker drains. And a program that has nothing left to do ends,
// although it has that channel.
//
// The program does not see it: no listener of `process`, nothing left in its options and caches,
// nothing that keeps the process alive, and no prototype is touched before the worker drains. An
// error in here never reaches the program.
try {
  const MEASURES = true;
  const CLOSES = true;
  const RESOLUTION = 20; // ms between two looks at the loop
  const FIRST = 1000; // ms until the first report
  const EVERY = 10000; // ms until each further one

  // Child processes do not need it, and threads have no channel.
  if (/^--require=.*\/supervisor-node-[0-9a-f]+\.js$/.test(process.execArgv[0])) {
    process.execArgv.shift();
  }
  delete require.cache[module.id];

  const send = process.send;
  if (typeof send === 'function' && require('worker_threads').isMainThread) {
    if (MEASURES) measure();
    if (CLOSES) waitForDrain();
    letEnd();
  }

  // Node's cluster module listens on the channel of each worker, which keeps every worker alive.
  // Started by hand, a program without work ends. Here it does so too, until it uses the cluster
  // module: from its first message to the primary on, mostly for a socket, the channel counts.
  function letEnd() {
    const { channel } = process;
    if (!channel?.refCounted || !channel.unrefCounted) return;
    const { worker } = require('cluster');
    const counted = process.listenerCount('message') + process.listenerCount('disconnect');
    let counts = false;
    const count = () => {
      if (counts) return;
      counts = true;
      if (process.send === watched) process.send = send;
      worker.removeListener('newListener', onNewListener);
      for (let i = 0; i < counted; i += 1) channel.refCounted();
    };
    const watched = function (message, handle, options, callback) {
      if (message?.cmd === 'NODE_CLUSTER') count();
      return send.call(this, message, handle, options, callback);
    };
    // These are messages as well, and not listeners of `process`, which Node counts itself.
    const onNewListener = (name) => {
      if (name === 'message') count();
    };
    worker.on('newListener', onNewListener);
    process.send = watched;
    for (let i = 0; i < counted; i += 1) channel.unrefCounted();
  }

  function measure() {
    const { monitorEventLoopDelay } = require('perf_hooks');
    const { getHeapStatistics } = require('v8');
    const loop = monitorEventLoopDelay({ resolution: RESOLUTION });
    const late = (percent) => Math.max(0, loop.percentile(percent) / 1e9 - RESOLUTION / 1e3);
    let unwritten = false;
    const report = () => {
      if (!process.connected) {
        loop.disable();
        return;
      }
      setTimeout(report, EVERY).unref();
      // The supervisor does not read just now.
      if (unwritten) return;
      unwritten = true;
      const heap = getHeapStatistics().used_heap_size;
      const said = { cmd: 'NODE_SUPERVISOR', p50: late(50), p99: late(99), heap };
      send.call(process, said, () => { unwritten = false; });
      loop.reset();
    };
    loop.enable();
    setTimeout(report, FIRST).unref();
  }

  // Node's cluster module listens for the messages of the primary already. Its listener is
  // replaced by one that also knows our message, so their number stays the same.
  function waitForDrain() {
    const listener = process.listeners('internalMessage').pop();
    if (listener === undefined) return;
    let end = null;
    const onInternalMessage = function (message, handle) {
      if (message?.cmd !== 'NODE_SUPERVISOR') return listener.call(this, message, handle);
      try {
        if (message.drain === true) end ??= drain();
        if (message.drain === false) end = end?.();
      } catch {
        // The supervisor waits until the connections are quiet, as without us.
      }
    };
    process.removeListener('internalMessage', listener);
    process.on('internalMessage', onInternalMessage);
  }

  // From now on each kept connection ends with its next response. Gives what undoes it: the
  // worker may serve on if the reload is rolled back.
  function drain() {
    const undo = [closeAfterResponses()];
    if (process.moduleLoadList.includes('NativeModule http2')) undo.push(sendGoaway());
    return () => {
      for (const one of undo) one();
      return null;
    };
  }

  // HTTP/1.1: a response whose headers are made from now on says `Connection: close`, if it is the
  // last one that its client waits for. Others stay as they are: the client may have sent
  // further requests before it saw the answer to the first (pipelining), which were read.
  function closeAfterResponses() {
    const { ServerResponse } = require('http');
    const inherited = ServerResponse.prototype._storeHeader;
    const watch = require('diagnostics_channel').channel('http.server.request.start');

    // What of the bytes that are being parsed belongs to the requests before this one.
    const parsed = new WeakMap();
    const lastInItsBytes = new WeakSet();
    const onRequest = ({ request, socket }) => {
      try {
        const { parser } = socket;
        if (!parsed.has(parser)) {
          parsed.set(parser, { bytes: parser.getCurrentBuffer(), at: 0 });
          process.nextTick(() => parsed.delete(parser));
        }
        if (endsBytes(parsed.get(parser), request)) lastInItsBytes.add(request);
      } catch {
        // It is not known to be the last, and the connection ends with a later response.
      }
    };

    const isLast = ({ req, statusCode }) => {
      if (statusCode < 200 || req?.socket?.parser?.incoming !== req) return false;
      // A complete request, seen before the next: all bytes that came with it are parsed.
      return req.complete || lastInItsBytes.has(req);
    };

    const store = function _storeHeader(...parts) {
      let closes = false;
      try {
        closes = isLast(this);
        if (closes) this.shouldKeepAlive = false;
      } catch {}
      const result = inherited.apply(this, parts);
      if (closes) sayClose(this);
      return result;
    };
    const hidden = { value: store, writable: true, configurable: true, enumerable: false };
    Object.defineProperty(ServerResponse.prototype, '_storeHeader', hidden);
    watch.subscribe(onRequest);
    return () => {
      watch.unsubscribe(onRequest);
      if (ServerResponse.prototype._storeHeader === store) {
        delete ServerResponse.prototype._storeHeader;
      }
    };
  }

  // Whether these bytes end with the request whose head was parsed just now. False where that
  // cannot be told: chunked bodies, a head that came in several pieces.
  function endsBytes(parsed, request) {
    const { bytes, at } = parsed;
    parsed.at = NaN;
    const end = bytes.indexOf('\r\n\r\n', at, 'latin1');
    const known = at >= 0 && end > at && bytes[at] > 0x20;
    if (!known || request.headers['transfer-encoding'] !== undefined) return false;
    parsed.at = end + 4 + Number(request.headers['content-length'] ?? 0);
    return parsed.at === bytes.length;
  }

  // The program may have asked for a kept connection by a header of its own.
  function sayClose(response) {
    const head = response._header;
    const connection = /\r\nconnection:[ \t]*([^\r]*)/i.exec(head);
    if (connection === null) {
      response._header = head.replace(/\r\n\r\n$/, '\r\nConnection: close\r\n\r\n');
    } else if (/^keep-alive$/i.test(connection[1])) {
      response._header = head
        .replace(/\r\nconnection:[^\r]*/i, '\r\nConnection: close')
        .replace(/\r\nkeep-alive:[^\r]*/i, '');
    } else if (!/\bclose\b/i.test(connection[1])) {
      return;
    }
    response._last = true;
    response.shouldKeepAlive = false;
  }

  // HTTP/2: a session is closed (GOAWAY) when a stream has come over it: at that moment its client
  // rather waits than sends. All streams that came with it are served; one that comes later is
  // refused in words that tell the client to send it again elsewhere.
  function sendGoaway() {
    const told = new WeakSet();
    const tell = (session) => {
      if (told.has(session)) return;
      told.add(session);
      setImmediate(() => session.close());
    };
    const servers = new Set();
    for (const handle of process._getActiveHandles()) {
      for (const one of [handle, handle.server]) {
        if (/^Http2(Secure)?Server$/.test(one?.constructor.name)) servers.add(one);
      }
    }
    for (const server of servers) {
      const { emit } = server;
      const value = function (event, subject, ...rest) {
        try {
          if (event === 'stream') tell(subject.session);
        } catch {}
        return emit.call(this, event, subject, ...rest);
      };
      Object.defineProperty(server, 'emit', { value, writable: true, configurable: true });
    }
    return () => {
      for (const server of servers) delete server.emit;
    };
  }
} catch {
  // Neither measured nor told to close then, and its channel keeps it alive.
}
