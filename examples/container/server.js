const http = require('http')

http.createServer((request, response) => {
  console.log(request.method, request.url)
  response.end(`hello from pid=${process.pid}\n`)
}).listen(process.env.PORT || 8000, '0.0.0.0')
