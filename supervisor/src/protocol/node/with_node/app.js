// A program for the tests: it does what messages ask for, and reports the result.
'use strict';
const cluster = require('cluster');
const fs = require('fs');
const servers = {};
let counted = 0;
const reply = (message, handle) => process.send(message, handle);
const report = (name) => (error) => reply({ name, error: error.code || String(error) });

function make(kind, name) {
  const text = `${cluster.worker.id} ${name}`;
  switch (kind) {
    case 'http':
      return require('http').createServer((req, res) => {
        res.setHeader('connection', 'close');
        res.end(text);
      });
    // Sends its worker id and name at once, and keeps the connection.
    case 'net':
      return require('net').createServer((socket) => {
        socket.on('error', () => {});
        socket.write(text + '\n');
      });
    case 'tls':
      return require('tls').createServer({});
    default:
      throw new Error(kind);
  }
}

const does = {
  who() {
    const { isWorker, isPrimary, worker } = cluster;
    const env = Object.keys(process.env).filter((key) => /^NODE_(UNIQUE|CHANNEL)/.test(key));
    reply({ isWorker, isPrimary, id: worker.id, pid: process.pid, env });
  },
  listen({ kind, name, options, maxConnections }) {
    const server = make(kind, name);
    server.maxConnections = maxConnections;
    servers[name] = server;
    server.on('error', report(name));
    server.listen(options, () => reply({ name, address: server.address() }));
  },
  close({ name }) {
    servers[name].close(() => reply({ name, closed: true }));
  },
  udp({ name, options }) {
    const socket = require('dgram').createSocket('udp4');
    servers[name] = socket;
    socket.on('error', report(name));
    socket.on('message', (data, from) => socket.send(`${cluster.worker.id} ${data}`, from.port));
    socket.bind(options, () => reply({ name, address: socket.address() }));
  },
  echo({ value }) {
    reply({ echo: value });
  },
  count({ text }) {
    counted += text.length;
  },
  counted() {
    reply({ counted });
  },
  busy({ ms }) {
    const end = Date.now() + ms;
    while (Date.now() < end);
  },
  disconnect() {
    cluster.worker.disconnect();
  },
  // A listening socket and a connection, and two messages behind each.
  sockets() {
    const net = require('net');
    const server = net.createServer((socket) => {
      reply('a server', server);
      reply('after the server');
      reply('a socket', socket);
      reply('after the socket');
    });
    server.listen({ port: 0, host: '127.0.0.1', exclusive: true }, () => {
      net.connect(server.address().port, '127.0.0.1').on('error', () => {});
    });
  },
  // Uses up all descriptors but a few.
  exhaust() {
    const held = [];
    try {
      for (;;) held.push(fs.openSync('/dev/null'));
    } catch (error) {
      reply({ exhausted: error.code });
    }
    does.relieve = () => {
      held.forEach((fd) => fs.closeSync(fd));
      reply({ relieved: held.length });
    };
  },
};

process.on('message', (message) => does[message.do](message));
process.send('ready');
