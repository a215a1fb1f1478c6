'use strict';
// The client against a primary that this test plays.

const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');
const { once } = require('node:events');
const { CallError, Worker, identity } = require('./index.js');

async function joined(t, values) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bus-'));
  const server = net.createServer().listen(path.join(folder, 's'));
  await once(server, 'listening');
  const theirs = net.connect(path.join(folder, 's'));
  const [ours] = await once(server, 'connection');
  const lines = require('node:readline').createInterface({ input: ours })[Symbol.asyncIterator]();
  const primary = {
    receive: async () => JSON.parse((await lines.next()).value),
    send: (message) => ours.write(`${JSON.stringify(message)}\n`),
    socket: ours,
  };
  const worker = new Worker(theirs, 'web');
  t.after(() => {
    theirs.destroy();
    ours.destroy();
    server.close();
    fs.rmSync(folder, { recursive: true });
  });
  assert.strictEqual((await primary.receive()).hello.pool, 'web');
  if (values) primary.send({ config: { version: 1, data: values } });
  primary.send({ welcome: { version: 1, you: { worker: 7, slot: 1, pool: 'web' }, app: 'shop' } });
  await worker.joined;
  return { worker, primary };
}

const from = { worker: 9, slot: 2, pool: 'web' };

test('events', async (t) => {
  const { worker, primary } = await joined(t);
  const seen = [];
  const note = (data, who) => seen.push([data, who.worker]);
  worker.on('a', note);
  worker.once('a', note);
  assert.deepStrictEqual(await primary.receive(), {
    subscribe: { topic: 'a', when_full: 'drop-oldest' },
  });
  assert.strictEqual(worker.listenerCount('a'), 2);
  primary.socket.write('{"event":{"topic":"a","data":1,"fr');
  primary.socket.write('om":{"worker":9}}}\n{"later":{}}\n{"ping":{"id":3}}\n');
  assert.deepStrictEqual(await primary.receive(), { pong: { id: 3 } });
  assert.deepStrictEqual(seen, [[1, 9], [1, 9]]);
  worker.emit('a', { x: 2 });
  assert.deepStrictEqual(await primary.receive(), { emit: { topic: 'a', data: { x: 2 } } });
  assert.deepStrictEqual(seen[2], [{ x: 2 }, 7]);
  worker.off('a', note);
  assert.deepStrictEqual(await primary.receive(), { unsubscribe: { topic: 'a' } });
  worker.send(3, 'b');
  assert.deepStrictEqual(await primary.receive(), { send: { slot: 3, topic: 'b', data: null } });
  assert.throws(() => worker.emit('', 1), RangeError);
  assert.throws(() => worker.emit('a', 'x'.repeat(2 << 20)), RangeError);
});

test('a handler that fails is contained', async (t) => {
  const { worker, primary } = await joined(t);
  let seen = 0;
  worker.on('a', () => { throw new Error('ouch'); });
  worker.on('a', async () => { throw new Error('later'); });
  worker.on('a', () => { seen += 1; });
  await primary.receive();
  for (let at = 0; at < 2; at += 1) primary.send({ event: { topic: 'a', data: 1, from } });
  primary.send({ ping: { id: 1 } });
  await primary.receive();
  assert.deepStrictEqual([seen, worker.failures], [2, 4]);
});

test('with wait the client reads no faster than its handlers finish', async (t) => {
  const { worker, primary } = await joined(t);
  const held = [];
  let [started, released] = [0, false];
  const all = new Promise((resolve) => {
    worker.on('a', (number) => {
      started += 1;
      if (number === 59999) resolve();
      return released ? Promise.resolve() : new Promise((finish) => { held.push(finish); });
    }, { wait: true });
  });
  assert.deepStrictEqual(await primary.receive(), { subscribe: { topic: 'a', when_full: 'wait' } });
  const event = (data) => `${JSON.stringify({ event: { topic: 'a', data, from } })}\n`;
  const stopped = once(worker._socket, 'pause');
  primary.socket.write(Array.from({ length: 60000 }, (_, number) => event(number)).join(''));
  await stopped;
  // The rest of one read may come beyond the bound.
  assert.ok(started >= 16384 && started < 20000, `${started}`);
  released = true;
  for (const finish of held) finish();
  await all;
  assert.deepStrictEqual([started, worker.failures], [60000, 0]);
});

test('calls have exactly one end', async (t) => {
  const { worker, primary } = await joined(t);
  const good = worker.call('hash', 'sum', [1, 2], { timeout: 9000, retry: true });
  const { call } = await primary.receive();
  assert.deepStrictEqual(call, {
    id: 1, pool: 'hash', topic: 'sum', timeout_ms: 9000, retry: true, data: [1, 2],
  });
  primary.send({ answer: { id: 1, data: 3 } });
  primary.send({ answer: { id: 1, data: 4 } });
  assert.strictEqual(await good, 3);
  const bad = worker.call('hash', 'sum');
  primary.send({ error: { id: 2, kind: 'died', message: 'it died' } });
  await assert.rejects(bad, { name: 'CallError', kind: 'died' });
  const over = worker.call('hash', 'sum');
  primary.socket.destroy();
  await assert.rejects(over, (error) => error instanceof CallError && error.kind === 'alone');
  assert.ok(worker.alone);
});

test('serving, triggers, configuration, metrics, draining', async (t) => {
  const { worker, primary } = await joined(t);
  worker.serve('double', async (number) => {
    if (number === 0) throw new Error('zero');
    return number * 2;
  }, { atOnce: 2 });
  assert.deepStrictEqual(await primary.receive(), { serve: { topic: 'double', at_once: 2 } });
  primary.send({ call: { id: 1, topic: 'double', data: 21, from, timeout_ms: 9 } });
  assert.deepStrictEqual(await primary.receive(), { answer: { id: 1, data: 42 } });
  primary.send({ call: { id: 2, topic: 'double', data: 0, from, timeout_ms: 9 } });
  assert.deepStrictEqual(await primary.receive(), { fail: { id: 2, message: 'zero' } });
  worker.action('gc', () => 'done');
  assert.deepStrictEqual(await primary.receive(), { action: { name: 'gc' } });
  primary.send({ trigger: { id: 3, action: 'gc', data: null } });
  assert.deepStrictEqual(await primary.receive(), { answer: { id: 3, data: 'done' } });
  worker.onConfig(({ limit }) => { if (limit > 9) throw new Error('too high'); });
  primary.send({ config: { version: 2, data: { limit: 10 } } });
  assert.deepStrictEqual(await primary.receive(), { applied: { version: 2, error: 'too high' } });
  worker.gauge('queue', 4, { kind: 'mail' });
  assert.deepStrictEqual(await primary.receive(), {
    metric: { name: 'queue', kind: 'gauge', value: 4, unit: '', labels: [['kind', 'mail']] },
  });
  assert.throws(() => worker.counter('c', -1), RangeError);
  const drained = new Promise((resolve) => { worker.onDrain(resolve); });
  primary.send({ drain: {} });
  await drained;
  assert.ok(worker.draining);
});

test('without a supervisor it talks with itself', async () => {
  const worker = new Worker(null, '');
  const heard = new Promise((resolve) => { worker.on('a', resolve); });
  worker.emit('a', 5);
  assert.strictEqual(await heard, 5);
  worker.serve('double', (number) => number * 2);
  assert.strictEqual(await worker.call('any', 'double', 4), 8);
  await assert.rejects(worker.call('', 'nope'), { kind: 'alone' });
  await worker.joined;
});

test('a new primary gets the registrations again', async (t) => {
  const { worker, primary } = await joined(t);
  worker.on('a', () => {}, { wait: true });
  worker.serve('sum', () => 1, { atOnce: 2 });
  worker.serve('old', () => 1);
  worker.unserve('old');
  worker.ready();
  for (let at = 0; at < 5; at += 1) await primary.receive();
  const lost = assert.rejects(worker.call('hash', 'sum', 1), { kind: 'lost' });
  assert.strictEqual((await primary.receive()).call.topic, 'sum');
  primary.send({ resumed: {} });
  await lost;
  assert.deepStrictEqual(await primary.receive(), { subscribe: { topic: 'a', when_full: 'wait' } });
  assert.deepStrictEqual(await primary.receive(), { serve: { topic: 'sum', at_once: 2 } });
  assert.deepStrictEqual(await primary.receive(), { ready: {} });
});

test('the identity of the worker', () => {
  const vars = {
    SUPERVISOR_APP: 'shop', SUPERVISOR_SLOT: '2001', SUPERVISOR_WORKERS: '3',
    SUPERVISOR_GENERATION: '7', SUPERVISOR_POOL: 'hash',
  };
  assert.strictEqual(identity(), null);
  Object.assign(process.env, vars);
  const expected = { app: 'shop', slot: 2001, pool: 'hash', workers: 3, generation: 7 };
  assert.deepStrictEqual(identity(), expected);
  delete process.env.SUPERVISOR_POOL;
  assert.strictEqual(identity().pool, 'default');
  for (const key of Object.keys(vars)) delete process.env[key];
});

test('a worker that has joined has its shared values', async (t) => {
  const { worker, primary } = await joined(t, { limit: 10 });
  const seen = [];
  worker.onConfig(({ limit }) => {
    seen.push(limit);
    throw new Error('too high');
  });
  assert.deepStrictEqual(seen, [10]);
  for (const error of [null, 'too high']) {
    assert.deepStrictEqual(await primary.receive(), { applied: { version: 1, error } });
  }
});

test('requests beyond the rate are not admitted', async (t) => {
  const { worker, primary } = await joined(t);
  assert.deepStrictEqual(worker.admit(), { ok: true, wait: 0, retryAfter: 0 });
  primary.send({ config: { version: 1, data: { limits: { rate: 0.5, burst: 2 } } } });
  assert.deepStrictEqual(await primary.receive(), { applied: { version: 1, error: null } });
  assert.ok(worker.admit().ok && worker.admit().ok);
  const { ok, wait, retryAfter } = worker.admit();
  assert.ok(!ok && wait > 1000 && wait <= 2000 && retryAfter === 2, `${wait}`);
  assert.deepStrictEqual((await primary.receive()).metric, {
    name: 'requests_limited', kind: 'counter', value: 1, unit: '', labels: [],
  });
  primary.send({ config: { version: 2, data: { limits: { rate: 'fast' } } } });
  await primary.receive();
  assert.deepStrictEqual(await primary.receive(), {
    applied: { version: 2, error: 'invalid limits: rate is not a number of 0 or more' },
  });
  assert.ok(!worker.admit().ok);
  primary.send({ config: { version: 3, data: null } });
  await primary.receive();
  assert.ok(worker.admit().ok);
});

// Servers of each kind, which answer what they get.
const SERVERS = {
  net: () => net.createServer((socket) => socket.once('data', (d) => socket.end(`to ${d}`))),
  late: () => net.createServer((socket) => setTimeout(() => {
    socket.once('data', (d) => socket.end(`to ${d}`));
  }, 20)),
  iterated: () => net.createServer(async (socket) => {
    for await (const data of socket) socket.end(`to ${data}`);
  }),
  http: () => require('node:http').createServer((request, response) => {
    request.on('data', (d) => response.end(`to ${d}`));
  }),
};

for (const [kind, make] of Object.entries(SERVERS)) {
  test(`connections beyond the limit wait: ${kind}`, async (t) => {
    const { worker, primary } = await joined(t);
    const configure = async (version, connections) => {
      primary.send({ config: { version, data: { limits: { connections } } } });
      let message;
      do message = await primary.receive(); while (!message.applied);
      assert.deepStrictEqual(message, { applied: { version, error: null } });
    };
    await configure(1, 2);
    const server = worker.limit(make()).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const ask = kind === 'http'
      ? 'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhere' : 'here';
    const clients = [];
    const connect = async () => {
      const client = net.connect({ ...server.address(), host: '127.0.0.1' });
      clients.push(client);
      await once(client, 'connect');
      return client;
    };
    const answer = (client) => new Promise((resolve, reject) => {
      let text = '';
      client.on('data', (data) => { text += data; });
      client.on('end', () => resolve(text));
      client.on('error', reject);
    });
    const accepted = async (count) => {
      let seen = 0;
      while (seen < count) {
        seen = await new Promise((done) => { server.getConnections((_, n) => done(n)); });
        await new Promise(setImmediate);
      }
    };
    const [first, second] = [await connect(), await connect()];
    const more = await Promise.all(Array.from({ length: 20 }, connect));
    const answers = more.map(answer);
    for (const client of more) client.write(ask);
    await accepted(22);
    assert.strictEqual(worker.connections, 2);
    // One connection is closed, and the others follow one by one.
    second.destroy();
    for (const text of await Promise.all(answers)) assert.match(text, /to here$/);
    assert.ok(worker.connections <= 2);
    // The limit rises, and a connection that waits is served at once.
    const third = await connect();
    const fourth = await connect();
    fourth.write(ask);
    const heard = answer(fourth);
    await accepted(3);
    await configure(2, 3);
    assert.match(await heard, /to here$/);
    for (const client of [first, third]) client.destroy();
  });
}
