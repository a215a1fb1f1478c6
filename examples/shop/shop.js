// One program, four jobs: the worker's slot decides which. Each job is a pool of the bus.
const http = require('node:http');
const { join } = require('../../worker/node');

const JOBS = ['orders', 'inventory', 'email', 'analytics'];
const job = JOBS[Number(process.env.SUPERVISOR_SLOT ?? 0) % JOBS.length];
const worker = join({ pool: job });

const start = {
  // Takes orders over HTTP: asks the inventory, then emits the order to all workers.
  orders() {
    let last = 0;
    const server = http.createServer((request, response) => {
      let body = '';
      request.on('data', (bytes) => { body += bytes; });
      request.on('end', async () => {
        try {
          const { item } = JSON.parse(body);
          const left = await worker.call('inventory', 'reserve', { item }, { timeout: 5000, retry: true });
          const order = { id: ++last, item, left };
          worker.emit('order:placed', order);
          response.end(`${JSON.stringify(order)}\n`);
        } catch (error) {
          response.statusCode = error.kind === 'failed' ? 409 : 503;
          response.end(`${error.message}\n`);
        }
      });
    });
    worker.onDrain(() => server.close());
    server.listen(Number(process.env.PORT ?? 8090), () => worker.ready());
  },

  // Counts the stock, which begins with a shared value.
  inventory() {
    let left = 0;
    worker.onConfig(({ stock }) => { left = stock; });
    worker.serve('reserve', ({ item }) => {
      if (left === 0) throw new Error(`no ${item} left`);
      left -= 1;
      worker.gauge('stock', left);
      return left;
    });
    worker.ready();
  },

  // Writes letters, and crashes on a bomb.
  email() {
    worker.on('order:placed', ({ id, item }) => {
      if (item === 'bomb') process.exit(1);
      console.log(`Dear customer, your ${item} (order ${id}) is on its way.`);
      worker.emit('email:sent', { id });
    });
    worker.ready();
  },

  // Counts orders and letters.
  analytics() {
    const counts = { orders: 0, emails: 0 };
    worker.on('order:placed', ({ item }) => {
      counts.orders += 1;
      worker.counter('orders', 1, { item });
    });
    worker.on('email:sent', () => { counts.emails += 1; });
    worker.action('report', () => counts);
    worker.ready();
  },
};

worker.joined.then(start[job]);
