// A small web application on a small framework, without any package. Its code does not mention
// workers. To run it on all cores behind one port:
//
//   supervisor start -i max examples/express/app.js
//   curl http://127.0.0.1:8091/hello/world
//   supervisor reload app        # no request is lost
//   supervisor metrics app       # its event loops and heaps
'use strict';
const { mini, json } = require('./mini');

const app = mini();

app.use(async (request, response, next) => {
  const began = performance.now();
  response.on('finish', () => {
    const took = (performance.now() - began).toFixed(1);
    console.log(`${request.method} ${request.url} ${response.statusCode} ${took} ms`);
  });
  return next();
});

app.get('/', (request, response) => response.json({ pid: process.pid }));
app.get('/hello/:name', (request, response) => {
  const greeting = request.query.greeting ?? 'hello';
  response.json({ said: `${greeting}, ${request.params.name}` });
});
app.post('/sum', json, (request, response) => {
  if (!Array.isArray(request.body)) return response.status(400).json({ error: 'send an array' });
  return response.json({ sum: request.body.reduce((sum, number) => sum + Number(number), 0) });
});
app.get('/fails', () => { throw new Error('this one always fails'); });

app.listen(Number(process.env.PORT ?? 8091));
