const http = require('http')

http.createServer((request, response) => {
  console.log(request.method, request.url)
  response.end(`hello from ${process.pid}\n`)
}).listen(8000, '0.0.0.0')
