// A web framework on one page, in the style of Express: routes with parameters, middleware, JSON.
// It does not know about workers; see app.js.
'use strict';
const http = require('node:http');

const MOST = 1 << 20; // bytes of a request's body

/** Turns `/users/:id` into a function from a path to its parameters, or null. */
function matcher(pattern) {
  const wanted = pattern.split('/');
  return (path) => {
    const given = path.split('/');
    if (given.length !== wanted.length) return null;
    const params = {};
    for (const [at, part] of wanted.entries()) {
      if (part.startsWith(':')) params[part.slice(1)] = decodeURIComponent(given[at]);
      else if (part !== given[at]) return null;
    }
    return params;
  };
}

/** Reads a request's body as JSON into `request.body`. */
async function json(request, response, next) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MOST) throw Object.assign(new Error('too much'), { status: 413 });
    parts.push(part);
  }
  try {
    request.body = size > 0 ? JSON.parse(Buffer.concat(parts)) : undefined;
  } catch {
    throw Object.assign(new Error('that is no JSON'), { status: 400 });
  }
  return next();
}

/** An application: `use(middleware)`, `get(pattern, …handlers)` and so on, `listen(port)`. */
function mini() {
  const layers = [];
  const add = (method, pattern, handlers) => {
    const matches = pattern === null ? () => ({}) : matcher(pattern);
    for (const handle of handlers) layers.push({ method, matches, handle });
    return app;
  };

  async function run(request, response, from) {
    for (let at = from; at < layers.length; at += 1) {
      const { method, matches, handle } = layers[at];
      const params = method === null || method === request.method ? matches(request.path) : null;
      if (params !== null) {
        request.params = params;
        return handle(request, response, () => run(request, response, at + 1));
      }
    }
    throw Object.assign(new Error(`no ${request.path} here`), { status: 404 });
  }

  async function app(request, response) {
    const url = new URL(request.url, 'http://localhost');
    request.path = url.pathname;
    request.query = Object.fromEntries(url.searchParams);
    response.status = (code) => { response.statusCode = code; return response; };
    response.json = (value) => {
      response.setHeader('content-type', 'application/json');
      response.end(`${JSON.stringify(value)}\n`);
    };
    try {
      await run(request, response, 0);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else response.status(error.status ?? 500).json({ error: error.message });
    }
  }

  app.use = (...handlers) => add(null, null, handlers);
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
    app[method.toLowerCase()] = (pattern, ...handlers) => add(method, pattern, handlers);
  }
  app.listen = (...where) => http.createServer(app).listen(...where);
  return app;
}

module.exports = { mini, json };
