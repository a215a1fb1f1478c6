#!/usr/bin/env bash
# Makes the pictures of dashboard.md from a real run with Node and Python apps, which takes six
# minutes: the charts need something to show. Fails if a pane is empty.
#
#   docs/images/make.sh SUPERVISOR [SECONDS]
set -euo pipefail
supervisor=$(realpath "$1")
seconds=${2:-320}
images=$(cd "$(dirname "$0")" && pwd)
browser=$images/../../tests/fixtures/browser
chromium=$(command -v chromium)

SUPERVISOR_HOME=$(mktemp -d)
export SUPERVISOR_HOME
cd "$SUPERVISOR_HOME"
background=()
end() {
  for pid in "${background[@]}"; do kill "$pid" 2>/dev/null || true; done
  "$supervisor" delete all --fast >/dev/null 2>&1 || true
  cd / && rm -rf "$SUPERVISOR_HOME"
}
trap end EXIT

cat >shop.js <<'JS'
const http = require("http");
let served = 0;
http
  .createServer((request, response) => {
    for (let spin = 0; spin < 2e5; spin += 1);
    served += 1;
    if (served % 20 === 0) console.log(`GET /cart 200 ${(5 + Math.random() * 20).toFixed(1)} ms`);
    if (served % 210 === 0) console.error("payment: the provider answered 503, trying again");
    setTimeout(() => response.end("ok"), 20 + Math.random() * 60);
  })
  .listen(8101, "127.0.0.1");
JS
cat >clients.js <<'JS'
const http = require("http");
const wave = () => 1 + 0.8 * Math.sin(Date.now() / 17000);
function visit(port, pause) {
  const again = () => setTimeout(visit, pause * wave() * Math.random(), port, pause);
  http
    .get({ port, host: "127.0.0.1", agent: false }, (answer) => answer.resume().on("end", again))
    .on("error", again);
}
for (let client = 0; client < 14; client += 1) visit(8101, 400);
for (let client = 0; client < 4; client += 1) visit(8102, 400);
JS
"$supervisor" start --name shop -i 3 -- node shop.js
"$supervisor" start --name api -i 2 -- python3 -m http.server 8102 --bind 127.0.0.1
"$supervisor" start --name reports -- python3 -m http.server 8103 --bind 127.0.0.1
"$supervisor" stop reports
"$supervisor" start --name mailer -- \
  sh -c 'echo "smtp://mail: connection refused" >&2; sleep 0.1; exit 3' || true
node clients.js &
background+=($!)
"$supervisor" dash --listen 8116 --allow-actions >dash.out &
background+=($!)
sleep $((seconds * 2 / 3))
"$supervisor" reload shop
sleep $((seconds / 3))
url=$(grep -o 'http://[^ ]*' dash.out)
node "$browser/pictures.mjs" "$chromium" "$url" "$images"
for picture in "$images"/dash*.png; do
  size=$(stat -c %s "$picture")
  echo "$picture: $size bytes"
  [ "$size" -lt 153600 ] || { echo "a picture of the documents has at most 150 KB" >&2; exit 1; }
done
