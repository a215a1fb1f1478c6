// A chat whose clients are spread over all workers. A client's message goes over the bus to all
// workers, and each worker passes it on to its own clients.
'use strict';
const http = require('node:http');
const { WebSocketServer } = require('ws');
const { join } = require('../../worker/node');

const worker = join();
const LONGEST = 2000; // characters of one chat message

const PAGE = `<!doctype html><meta charset="utf-8"><title>Chat</title>
<form><input autofocus size="60" placeholder="say something"></form><pre></pre><script>
const socket = new WebSocket(location.href.replace('http', 'ws'));
const [form, input, lines] = ['form', 'input', 'pre'].map((name) => document.querySelector(name));
socket.onmessage = ({ data }) => { lines.textContent = data + '\\n' + lines.textContent; };
form.onsubmit = (event) => { event.preventDefault(); socket.send(input.value); input.value = ''; };
</script>`;

const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'text/html');
  response.end(PAGE);
});
const clients = new WebSocketServer({ server, maxPayload: 64 * 1024 });

clients.on('connection', (client) => {
  client.send(`you are with worker ${worker.peer.worker}, pid ${process.pid}`);
  client.on('message', (data) => worker.emit('say', String(data).slice(0, LONGEST)));
  client.on('error', () => client.terminate());
  worker.gauge('chat_clients', clients.clients.size);
  client.on('close', () => worker.gauge('chat_clients', clients.clients.size));
});

// Messages from this worker's clients, from other workers' clients, or from the command line.
worker.on('say', (text) => {
  for (const client of clients.clients) client.send(String(text));
});

// A worker that must stop closes its clients' connections with code 1012 (service restart).
process.on('SIGTERM', () => {
  server.close();
  for (const client of clients.clients) client.close(1012, 'service restart');
  clients.close(() => {
    worker.leave();
    if (process.connected) process.disconnect();
  });
});

worker.joined.then(() => server.listen(Number(process.env.PORT ?? 8092)));
