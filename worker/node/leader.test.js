'use strict';
// The lease of the leader, between real processes.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const test = require('node:test');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');

const needs = spawnSync('flock', ['--help']).error ? { skip: 'there is no command flock' } : {};
// Says who leads for each line of its input. "until": it waits first.
const PROGRAM = `
const { isLeader, untilLeader } = require(${JSON.stringify(path.join(__dirname, 'index.js'))});
require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  try {
    if (line === 'until') await untilLeader();
    console.log(await isLeader());
  } catch (error) {
    console.log(error.message);
  }
});`;

/** A file as the supervisor makes it, in a process that holds it open. Gives its path. */
async function lease(t) {
  const holder = spawn('python3', ['-c', 'import os, time; '
    + 'print(os.memfd_create("supervisor-leader"), flush=True); time.sleep(1000)'],
  { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => holder.kill());
  const [number] = await once(readline.createInterface({ input: holder.stdout }), 'line');
  return `/proc/${holder.pid}/fd/${number}`;
}

/** A worker with a description of the lease of its own. */
function program(t, file, variables = {}) {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([key]) => !key.startsWith('SUPERVISOR')),
  );
  const stdio = ['pipe', 'pipe', 'inherit'];
  const fd = file && fs.openSync(file, 'r');
  if (file) {
    stdio.push(fd);
    env.SUPERVISOR_LEADER_FD = '3';
  }
  const child = spawn(process.execPath, ['-e', PROGRAM], { env: { ...env, ...variables }, stdio });
  if (file) fs.closeSync(fd);
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  t.after(() => child.kill('SIGKILL'));
  const tell = (what) => child.stdin.write(`${what}\n`);
  const said = async () => (await lines.next()).value;
  return { child, tell, said, ask: (what = 'ask') => { tell(what); return said(); } };
}

test('one leads until it ends, also while it is stopped', needs, async (t) => {
  const file = await lease(t);
  const [one, other] = [program(t, file), program(t, file)];
  assert.deepStrictEqual([await one.ask(), await other.ask(), await one.ask()],
    ['true', 'false', 'true']);
  one.child.kill('SIGSTOP');
  for (let asked = 0; asked < 3; asked += 1) assert.strictEqual(await other.ask(), 'false');
  one.child.kill('SIGCONT');
  assert.deepStrictEqual([await one.ask(), await other.ask()], ['true', 'false']);
  one.child.kill('SIGKILL');
  await once(one.child, 'exit');
  assert.strictEqual(await other.ask(), 'true');
});

test('a worker can wait until it leads', needs, async (t) => {
  const file = await lease(t);
  const [one, other] = [program(t, file), program(t, file)];
  assert.strictEqual(await one.ask(), 'true');
  other.tell('until');
  const leads = other.said();
  const first = await Promise.race([leads, one.ask().then(() => 'it waits')]);
  assert.strictEqual(first, 'it waits');
  one.child.kill('SIGKILL');
  assert.strictEqual(await leads, 'true');
});

test('a worker that waits stops well when its whole group gets the signal', needs, async (t) => {
  const file = await lease(t);
  const one = program(t, file);
  assert.strictEqual(await one.ask(), 'true');
  const waits = `
const { isLeader, untilLeader } = require(${JSON.stringify(path.join(__dirname, 'index.js'))});
process.on('SIGTERM', async () => {
  // Each answer is another command that has ended.
  for (let asked = 0; asked < 5; asked += 1) await isLeader();
  console.log('stopped');
  process.exit(0);
});
setInterval(() => {}, 1000);
untilLeader();
isLeader().then((leads) => console.log(leads));`;
  const fd = fs.openSync(file, 'r');
  const env = { ...process.env, SUPERVISOR_LEADER_FD: '3' };
  const stdio = ['ignore', 'pipe', 'inherit', fd];
  const child = spawn(process.execPath, ['-e', waits], { env, stdio, detached: true });
  fs.closeSync(fd);
  t.after(() => child.kill('SIGKILL'));
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, 'exit');
  assert.strictEqual((await lines.next()).value, 'false');
  process.kill(-child.pid, 'SIGTERM');
  assert.strictEqual((await lines.next()).value, 'stopped');
  assert.deepStrictEqual(await ended, [0, null]);
});

test('without a supervisor a process is alone', async (t) => {
  assert.strictEqual(await program(t, null).ask(), 'true');
});

test('an app without a lease and another descriptor are errors', async (t) => {
  const without = program(t, null, { SUPERVISOR_APP: 'web' });
  assert.match(await without.ask(), /set leader = true/);
  const another = program(t, null, { SUPERVISOR_APP: 'web', SUPERVISOR_LEADER_FD: '1' });
  assert.match(await another.ask(), /not the lease/);
});

test('without the command flock it says so', async (t) => {
  const bare = program(t, await lease(t), { PATH: '/nonexistent' });
  assert.match(await bare.ask(), /the command flock cannot run/);
});
