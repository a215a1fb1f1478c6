// The classic program: forks a worker for each CPU, or serves.
const cluster = require('cluster');
const http = require('http');

if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork();
  cluster.on('exit', () => cluster.fork());
} else {
  http.createServer((req, res) => res.end(`hello from ${cluster.worker.id}`)).listen(process.env.PORT);
}
