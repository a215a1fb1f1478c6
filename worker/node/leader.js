'use strict';
// The lease of the leader. At most one worker of an app holds it.
// The lease is a lock by flock(2), which belongs to the open file description that this worker
// inherited. Node has no flock, so the command of that name takes the lock on a descriptor that it
// shares with us. The lock stays when the command has ended.

const { spawn } = require('node:child_process');
const fs = require('node:fs');

const VARIABLE = 'SUPERVISOR_LEADER_FD';
// What /proc shows of the file behind the descriptor.
const FILE = '/memfd:supervisor-leader';
// What /proc shows of a description that holds the lock.
const LOCKED = /^lock:\s+\d+:\s+FLOCK\s+\S+\s+WRITE\b/m;

// The commands that run: one that tries, and one that waits.
let trying = null;
let waiting = null;

/** The descriptor of the lease. Null without a supervisor. */
function lease() {
  const number = process.env[VARIABLE];
  if (number === undefined && process.env.SUPERVISOR_APP === undefined) return null;
  if (number === undefined) {
    throw new Error('cannot ask who leads: the app has no lease; set leader = true');
  }
  let target = '';
  try {
    target = fs.readlinkSync(`/proc/self/fd/${number}`);
  } catch {
    // Said below.
  }
  if (!target.startsWith(FILE)) {
    throw new Error(`cannot ask who leads: ${VARIABLE}=${number}: not the lease (only the worker's `
      + 'own process inherits it)');
  }
  return Number(number);
}

function isHeld(fd) {
  try {
    return LOCKED.test(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
  } catch {
    // The command knows it, too.
    return false;
  }
}

/**
 * Runs the command. Resolves to whether this worker has the lock; to null if a signal ended the
 * command, as at an ordinary stop, where the whole group gets it: that is neither yes nor no.
 */
function take(fd, options) {
  return new Promise((resolve, reject) => {
    const fails = (why) => reject(new Error(`cannot ask who leads: the command flock ${why}`));
    const stdio = ['ignore', 'ignore', 'inherit', fd];
    const command = spawn('flock', [...options, '3'], { stdio });
    command.on('error', (error) => fails(`cannot run: ${error.message}`));
    command.on('exit', (code, signal) => {
      if (code === 0 || code === 1) resolve(code === 0);
      else if (signal) resolve(null);
      else fails(`ended with exit code ${code}`);
    });
    // A program that has nothing else to do may end.
    command.unref();
  });
}

/**
 * Whether this worker leads its app at this moment, which needs `leader = true`. If no worker does,
 * this one does from now on, until it ends: ask only where the work would be done. Without a
 * supervisor a process is alone, and leads.
 */
async function isLeader() {
  const fd = lease();
  if (fd === null || isHeld(fd)) return true;
  trying ??= take(fd, ['-n']).finally(() => { trying = null; });
  return await trying ?? isHeld(fd);
}

/**
 * Resolves when this worker leads its app, at once if it does. While the worker stops, it may never
 * resolve.
 */
async function untilLeader() {
  const fd = lease();
  if (fd === null || isHeld(fd)) return;
  waiting ??= take(fd, []).finally(() => { waiting = null; });
  const leads = await waiting ?? (isHeld(fd) || null);
  // A later call starts another command. A program that has nothing else to do may end.
  if (leads === null) await new Promise(() => {});
  if (!leads) throw new Error('cannot ask who leads: the command flock was refused');
}

module.exports = { isLeader, untilLeader };
