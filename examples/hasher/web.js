// Takes passwords over HTTP and leaves the hashing to the pool `hash`.
const http = require('node:http');
const { join } = require('../../worker/node');

const worker = join();
const STATUS = { full: 503, 'timed-out': 503, died: 503, 'no-pool': 503 };

async function answer(url, password) {
  const options = { timeout: 10_000, retry: true };
  switch (url.pathname) {
    case '/hash':
      return worker.call('hash', 'hash', { password }, options);
    case '/check': {
      const hash = url.searchParams.get('hash') ?? '';
      return worker.call('hash', 'check', { password, hash }, options);
    }
    default:
      throw Object.assign(new Error('POST a password to /hash or /check?hash=...'), { kind: 'nowhere' });
  }
}

const server = http.createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (text) => {
    body += text;
    if (body.length > 4096) request.destroy();
  });
  request.on('end', async () => {
    try {
      const said = await answer(new URL(request.url, 'http://localhost'), body);
      response.end(`${JSON.stringify(said)}\n`);
    } catch (error) {
      response.statusCode = error.kind === 'nowhere' ? 404 : STATUS[error.kind] ?? 400;
      response.end(`${error.message}\n`);
    }
  });
});
worker.onDrain(() => server.close());
server.listen(Number(process.env.PORT ?? 8091));
