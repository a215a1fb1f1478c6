'use strict';
// Runs before the program of a Node worker: tells the supervisor, over the channel that Node has
// with its primary, how late the event loop is and how much of the heap is used.
//
// The program does not see it: no listener, nothing left in its options and caches, nothing that
// keeps the process alive. Whatever goes wrong in here is nobody's concern.
try {
  const RESOLUTION = 20; // ms between two looks at the loop
  const FIRST = 1000; // ms until the first report
  const EVERY = 10000; // ms until each further one

  // Processes that the program starts do not need it, threads have nobody to tell.
  if (/^--require=.*\/supervisor-node-[0-9a-f]+\.js$/.test(process.execArgv[0])) {
    process.execArgv.shift();
  }
  delete require.cache[module.id];

  const send = process.send;
  if (typeof send === 'function' && require('worker_threads').isMainThread) {
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
} catch {
  // Not measured then.
}
