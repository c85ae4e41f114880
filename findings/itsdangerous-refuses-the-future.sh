#!/usr/bin/env bash
# Guess (before the run): a token signed on a server whose clock is 2 s ahead is accepted, since only its age is
#   limited.
# Found: with max_age, an age below zero is "expired" at once: SignatureExpired, "Signature age -3 < 0 seconds".
#   There is no leeway. The stamp is a whole second, so less than a second of skew can be enough.
# Version: itsdangerous 2.2.0 (the signed session cookies of Starlette and Flask stand on it, always with max_age).
# Why it matters: behind one address with two controllers, a person who signs in at the one that is ahead is signed
#   out by the other. The same after a clock is set back. It comes and goes with NTP and is not in any log.
# Source: run here; itsdangerous/timed.py (unsign).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install itsdangerous==2.2.0 starlette==1.10.0 httpx 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import sys, time
from itsdangerous import SignatureExpired, TimestampSigner

clock, ahead = time.time, 2.5
signer = TimestampSigner("a key of both servers")
time.time = lambda: clock() + ahead
token = signer.sign("session of ann")
time.time = clock
try:
    signer.unsign(token, max_age=3600)
    said = ""
except SignatureExpired as error:
    said = str(error)
print("token from a clock 2.5 s ahead:", said or "accepted")

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

def sign_in(request):
    request.session["user"] = "ann"
    return PlainTextResponse("")

def user(request):
    return PlainTextResponse(request.session.get("user", "nobody"))

routes = [Route("/in", sign_in), Route("/user", user)]
client = TestClient(Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key="k")]))
time.time = lambda: clock() + ahead
client.get("/in")
time.time = clock
seen = client.get("/user").text
print("Starlette session made 2.5 s ahead belongs to:", seen)
sys.exit(0 if "< 0 seconds" in said and seen == "nobody" else 1)
PY
