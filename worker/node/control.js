'use strict';
// Looks at apps of the supervisor and steers them, over their control sockets (docs/api.md).
//
//   const { Control } = require('supervisor-worker/control');
//   const control = new Control();
//   for (const app of control.apps()) console.log(app.name, (await app.status()).status);
//   await control.app('web').reload({ onNotice: console.log });
//
// It needs no worker: any program of the user that started the apps may use it, and programs of
// other users as far as `operators` and `observers` allow.

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { execFile } = require('node:child_process');

// The longest line of a primary, in bytes.
const MAX_LINE = 1 << 20;
// How long it is tried to reach a primary that has no room for another client.
const BUSY_MS = 8000;

// A request was refused or failed. `kind` is one of the words of docs/api.md, or `lost` where there
// is no primary or no reply; `lastLines` is what a failed worker wrote last.
class ControlError extends Error {
  constructor(reason, kind = 'lost', lastLines = []) {
    super(reason);
    this.name = 'ControlError';
    this.kind = kind;
    this.lastLines = lastLines;
  }
}

// The apps in one folder of sockets; by default that of this user's commands.
class Control {
  #folders;
  #program;

  constructor({ folder, program = 'supervisor' } = {}) {
    this.#folders = folder ? [folder] : folders();
    this.#program = program;
  }

  // The apps that have a socket, by name. A primary may have died without removing its own.
  apps() {
    const found = new Map();
    for (const folder of [...this.#folders].reverse()) {
      for (const file of list(folder)) {
        if (file.endsWith('.sock')) found.set(file.slice(0, -5), path.join(folder, file));
      }
    }
    return [...found.keys()].sort().map((name) => new App(name, found.get(name)));
  }

  // The app of this name; throws if it has no socket.
  app(name) {
    const folder = this.#folders.find((folder) => list(folder).includes(`${name}.sock`));
    if (folder === undefined) {
      throw new ControlError(`no app is called "${name}" in ${this.#folders.join(', ')}`);
    }
    return new App(name, path.join(folder, `${name}.sock`));
  }

  // Runs `supervisor start` with these options, and resolves to the app once it is ready.
  start(command, name, options = []) {
    const words = ['start', '--name', name, ...options, '--', ...command];
    return new Promise((resolve, reject) => {
      execFile(this.#program, words, (error, _out, said) => {
        if (error) reject(new ControlError(said.trim() || error.message, 'failed'));
        else resolve(this.app(name));
      });
    });
  }
}

// One app. Each method sends one request; its promise is rejected with a ControlError if it fails.
class App {
  #path;

  constructor(name, path) {
    this.name = name;
    this.#path = path;
  }

  // What `supervisor list --json` shows of the app.
  status() {
    return this.ask({ request: 'status' }, { timeout: 10_000 });
  }

  // Replaces all workers without loss; resolves when the new ones serve. `method`: as in
  // docs/api.md, `{ method: 'blue-green', keep_old_ms: 60000 }`.
  reload({ method = {}, ...options } = {}) {
    const request = { request: 'configure', change: {}, method: { method: 'rolling', ...method } };
    return this.ask(request, options);
  }

  // Stops all workers, and then starts new ones.
  restart(options = {}) {
    return this.reload({ ...options, method: { method: 'hard' } });
  }

  // Changes the number of workers.
  scale(workers, options) {
    return this.ask({ request: 'scale', wanted: workers }, options);
  }

  // Starts the workers of a stopped app.
  start(options) {
    return this.ask({ request: 'start' }, options);
  }

  // Stops the workers and keeps the app.
  stop(options) {
    return this.ask({ request: 'stop' }, options);
  }

  // Stops the workers and ends the app's primary.
  delete(options) {
    return this.ask({ request: 'delete' }, options);
  }

  // Calls `onNotice` with every notice from now on. Returns a function that ends that; `onEnd` is
  // called with an error, or without one, when the primary ends it.
  subscribe(onNotice, onEnd = () => {}) {
    return this.#converse({ request: 'subscribe' }, (answer, error) => {
      if (answer?.reply === 'notice') onNotice(answer);
      else onEnd(answer ? failure(answer) : error);
    });
  }

  // Sends a request of docs/api.md; resolves to its final reply. `timeout`, in milliseconds, is for
  // all of that; without it there is no limit but the primary's own.
  async ask(request, { onNotice = () => {}, timeout } = {}) {
    const end = timeout === undefined ? Infinity : Date.now() + timeout;
    const untilFree = Date.now() + BUSY_MS;
    for (;;) {
      const reply = await this.#askOnce(request, onNotice, end - Date.now());
      if (reply.reply !== 'failed') return reply;
      if (reply.kind !== 'busy' || Date.now() > Math.min(untilFree, end)) throw failure(reply);
      await new Promise((done) => setTimeout(done, 250));
    }
  }

  #askOnce(request, onNotice, rest) {
    return new Promise((resolve, reject) => {
      let timer;
      const end = this.#converse(request, (answer, error) => {
        if (answer?.reply === 'notice') return onNotice(answer);
        clearTimeout(timer);
        if (answer) resolve(answer);
        else reject(error ?? new ControlError(`the primary of ${this.name} ended without a reply`));
        return end();
      });
      const late = () => {
        end();
        reject(new ControlError(`${this.name} did not answer in time`, 'timed-out'));
      };
      if (Number.isFinite(rest)) timer = setTimeout(late, Math.max(rest, 1));
    });
  }

  // Calls `each` with every answer, and at the end without one.
  #converse(request, each) {
    let text = '';
    let open = true;
    const control = net.connect(this.#path);
    control.setEncoding('utf8');
    const end = (error) => {
      if (!open) return;
      open = false;
      control.destroy();
      each(undefined, error);
    };
    control.on('error', (error) => {
      end(new ControlError(`cannot talk to the primary of ${this.name}: ${error.message}`));
    });
    control.on('end', () => end());
    control.on('data', (more) => {
      const lines = (text + more).split('\n');
      text = lines.pop();
      try {
        for (const line of lines) if (open && line.trim()) each(JSON.parse(line));
      } catch (error) {
        end(error);
      }
      if (text.length > MAX_LINE) end(new ControlError(`${this.name} sent more than 1 MiB`));
    });
    control.write(`${JSON.stringify(request)}\n`);
    return () => {
      open = false;
      control.destroy();
    };
  }
}

function failure(reply) {
  return new ControlError(reply.reason, reply.kind, reply.last_lines ?? []);
}

function list(folder) {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

// The folders in which the commands of this user put sockets, the first choice first.
function folders() {
  const home = process.env.SUPERVISOR_HOME;
  if (home) return [path.join(home, 'run')];
  const user = process.getuid();
  const runtime = process.env.XDG_RUNTIME_DIR;
  const first = user === 0 ? '/run/supervisor' : runtime && path.join(runtime, 'supervisor');
  const named = [first, `/tmp/supervisor-${user}`, `/dev/shm/supervisor-${user}`];
  // Another user may have made a folder of this name.
  const owner = (folder) => fs.lstatSync(folder, { throwIfNoEntry: false })?.uid;
  return named.filter((folder) => folder && owner(folder) === user);
}

module.exports = { Control, App, ControlError };
