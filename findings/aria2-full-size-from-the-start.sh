#!/usr/bin/env bash
# Guess (before the run): a download that aria2c has half done is shorter than the whole, or has another name.
# Found: the file has its final name and its final size within the first seconds, filled with zeros; what arrives
#   waits in a memory cache and is written later. After a kill it stays so. Only `NAME.aria2` beside it says that it
#   is not whole.
# Version: aria2 1.36.0-1 of Debian 12 (default settings: file-allocation=prealloc for files above 5 MiB).
# Why it matters: aria2c is what many use to fetch weights. "The size is right and the header parses" accepts such a
#   file as soon as its first piece is written. A publisher must treat NAME.aria2 as "NAME is being written".
# Source: run here; the manual documents --file-allocation and the control file.
set -euo pipefail
dir=$(mktemp -d)
server=""
trap '[[ -z $server ]] || kill "$server" 2> "$dir/kill"; rm -rf "$dir"' EXIT
cd "$dir"
apt-get -qq -o APT::Sandbox::User=root download aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 || exit 2
for package in *.deb; do dpkg -x "$package" root; done
LD_LIBRARY_PATH=$(dirname "$(find "$PWD/root" -name 'libaria2.so.0')")
export LD_LIBRARY_PATH
cat > serve.py <<'PY'
import http.server, pathlib, time

class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(8 << 20))
        self.end_headers()
        try:
            for _ in range(128):
                self.wfile.write(b"w" * (8 << 13))
                time.sleep(0.3)
        except OSError:
            pass

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
pathlib.Path("port.new").write_text(str(server.server_port))
pathlib.Path("port.new").rename("port")
server.serve_forever()
PY
python3 serve.py & server=$!
for _ in $(seq 50); do [[ -s port ]] && break; sleep 0.2; done
"$(find "$PWD/root" -name aria2c)" --no-conf -q "http://127.0.0.1:$(cat port)/model.safetensors" & fetch=$!
sleep 4
kill -9 "$fetch"
wait "$fetch" 2> "$dir/wait" || true
size=$(stat -c %s model.safetensors)
written=$(tr -d '\0' < model.safetensors | wc -c)
echo "killed in the middle: size $size of $((8 << 20)), bytes that arrived in it: $written; files:" model*
[[ $size == $((8 << 20)) && $written -lt $size && -e model.safetensors.aria2 ]] || exit 1
