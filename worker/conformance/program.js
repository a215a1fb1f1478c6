'use strict';
// Carries out the commands of a conversation with the Node client: `node program.js PATH`.
// See README.md in this folder.

const net = require('node:net');
const readline = require('node:readline');
const { Worker, CallError } = require('../node/index.js');

const path = process.argv[2];
const report = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const handlers = new Map();
let worker = null;

function noting({ handler, does = 'note', until }) {
  let events = 0;
  return (data, from) => {
    if (does === 'fail') throw new Error('no');
    if (does === 'note') {
      report({ event: { handler, data, from } });
      return undefined;
    }
    // Counts, and is slower at first than the events come.
    events += 1;
    const first = events === 1;
    if (data === until) report({ counted: { handler, events } });
    return new Promise((resolve) => { setTimeout(resolve, first ? 100 : 0); });
  };
}

function answering({ does, message, data: fixed }) {
  return async (data, from) => {
    if (does === 'fail') throw new Error(message);
    if (does === 'call') return worker.call('x', 'more', data);
    if (does === 'return') return fixed;
    report({ request: { data, from } });
    return data;
  };
}

const commands = {
  async join({ pool }) {
    worker = new Worker(net.connect(path), pool);
    try {
      await worker.joined;
      report({ joined: worker.peer });
    } catch (error) {
      report({ not_joined: error.message });
    }
  },
  start_alone() { worker = new Worker(null, ''); },
  on(command) {
    const { topic, handler, wait = false } = command;
    const run = noting(command);
    handlers.set(handler, [topic, run]);
    worker.on(topic, run, { wait });
  },
  once(command) { worker.once(command.topic, noting(command)); },
  off({ handler }) { worker.off(...handlers.get(handler)); },
  off_all({ topic }) { worker.off(topic); },
  emit({ topic, data }) { worker.emit(topic, data); },
  send({ slot, topic, data }) { worker.send(slot, topic, data); },
  call({ as, pool, topic, data, timeout_ms: timeout, retry }) {
    worker.call(pool, topic, data, { timeout, retry }).then(
      (answer) => report({ ended: { call: as, data: answer } }),
      (error) => {
        if (!(error instanceof CallError)) throw error;
        // The text of `alone` is each client's own.
        const message = error.kind === 'alone' ? undefined : error.message;
        report({ ended: { call: as, error: error.kind, message } });
      },
    );
  },
  serve(command) {
    worker.serve(command.topic, answering(command), { atOnce: command.at_once });
  },
  unserve({ topic }) { worker.unserve(topic); },
  action(command) { worker.action(command.name, answering(command)); },
  gauge({ name, value, labels }) { worker.gauge(name, value, labels); },
  counter({ name, value, labels }) { worker.counter(name, value, labels); },
  histogram({ name, value, labels }) { worker.histogram(name, value, labels); },
  on_config({ does, message }) {
    worker.onConfig(async (values) => {
      if (does === 'fail') throw new Error(message);
      if (does === 'call') await worker.call('x', 'more', values);
      report({ config: values });
    });
  },
  on_drain() { worker.onDrain(() => report({ drained: {} })); },
  admit() {
    const { ok, retryAfter } = worker.admit();
    report({ admitted: { ok, retry_after: retryAfter } });
  },
  ready() { worker.ready(); },
  leaving() { worker.leaving(); },
  leave() { worker.leave(); },
  state() {
    const { alone, draining, failures, dropped, peer } = worker;
    report({ state: { alone, draining, failures, dropped, peer } });
  },
  end() {
    process.stdout.write(`${JSON.stringify({ end: {} })}\n`, () => process.exit());
  },
};

async function run() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [[word, command]] = Object.entries(JSON.parse(line));
    try {
      await commands[word](command);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      report({ refused: error.message });
    }
  }
}

run();
