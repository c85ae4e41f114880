#!/usr/bin/env bash
# Guess (before the run): with uvicorn in a thread, `server.should_exit = True` ends open event streams of
#   sse-starlette within a second or two, as a signal does.
# Found: it never ends: one open stream keeps the server. sse-starlette learns of the end from uvicorn's signal
#   handler, which is not installed outside of the main thread. With the server in the main thread SIGTERM ends it at
#   once. `timeout_graceful_shutdown` is the way out: after it the stream is cancelled, with a traceback in the log.
#   Without that setting there is no limit.
# Version: sse-starlette 3.7.0, uvicorn 0.54.0.
# Why it matters: a daemon that serves its page from a thread cannot leave while one browser tab is open. The
#   supervisor kills it in the end, in the middle of whatever else it was draining.
# Source: run here; sse_starlette/sse.py (AppStatus).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install sse-starlette==3.7.0 starlette==1.10.0 uvicorn==0.54.0 2> pip.log || { cat pip.log; exit 2; }
cat > serve.py <<'PY'
import asyncio, os, signal, socket, sys, threading, time
import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.routing import Route

async def events():
    while True:
        yield {"data": "x"}
        await asyncio.sleep(0.2)

async def stream(request):
    return EventSourceResponse(events())

where, limit = sys.argv[1], int(sys.argv[2]) or None
app = Starlette(routes=[Route("/", stream)])
server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", timeout_graceful_shutdown=limit))
ended = threading.Event()

def watch():
    while not server.started:
        time.sleep(0.05)
    browser = socket.create_connection(server.servers[0].sockets[0].getsockname())
    browser.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    browser.recv(100)
    time.sleep(0.5)
    begun = time.monotonic()
    if where == "main":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        server.should_exit = True
    result = f"ended after {time.monotonic() - begun:.0f} s" if ended.wait(10) else "not ended after 10 s"
    print(f"server in {where} thread, limit {limit}: {result}", flush=True)
    os._exit(0)

def serve():
    server.run()
    ended.set()
    time.sleep(1)

if where == "main":
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=watch).start()
    serve()
else:
    threading.Thread(target=serve, daemon=True).start()
    watch()
PY
for mode in "main 0" "another 0" "another 3"; do
  # shellcheck disable=SC2086
  venv/bin/python serve.py $mode 2> log | tee -a seen
done
python3 - <<'PY'
import re, sys
times = [int(m[1]) if (m := re.search(r": ended after (\d+) s", line)) else None for line in open("seen")]
sys.exit(0 if times[0] is not None and times[0] <= 1 and times[1] is None and times[2] in (3, 4, 5) else 1)
PY
