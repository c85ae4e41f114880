#!/usr/bin/env bash
# Guess (before the run): a webhook that answers 302 counts as a failure, or the message is posted to the new
#   address.
# Found: 301, 302 and 303 are followed with a GET without a body, and the 200 of whatever page is there counts as
#   SUCCESS. 307 and 308 repeat the POST.
# Version: apprise 2.3.0, json://.
# Why it matters: an operator moves a receiver behind TLS or a sign-in page, which answer 301 or 302. From then on
#   every stalled release is reported to nobody, and the outbox says delivered.
# Source: run here; it is the default of the HTTP client below.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install apprise==2.3.0 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import http.server, sys, threading
import apprise

arrived = []

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        size = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(size)
        if self.path.startswith("/old/"):
            self.send_response(int(self.path.rsplit("/")[2]))
            self.send_header("Location", "/new")
        else:
            arrived.append(f"{self.command} with {'a body' if size else 'no body'}")
            self.send_response(200)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {}
for code in (301, 302, 303, 307, 308):
    arrived.clear()
    sender = apprise.Apprise()
    sender.add(f"json://127.0.0.1:{server.server_port}/old/{code}")
    sent = bool(sender.notify(title="release r-20", body="stalled in cn-shanghai"))
    seen[code] = (sent, arrived[-1])
    print(f"{code}: reported as {'sent' if sent else 'failed'}, the new address got a {arrived[-1]}")
lost = (True, "GET with no body")
sys.exit(0 if [seen[c] == lost for c in seen] == [True, True, True, False, False] and seen[307][0] else 1)
PY
