"""Run one region: `python -m tests.foreign.cloud --region cn-hangzhou --root DIR --bucket models-hz`.

Prints one line of JSON with its URL, then serves until SIGTERM, or until standard input ends.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from tests.foreign.cloud.documents import Documents
from tests.foreign.cloud.fc import PREFIX, Fc
from tests.foreign.cloud.functions import Functions
from tests.foreign.cloud.instances import Instances, Mounts
from tests.foreign.cloud.objects import ObjectStore
from tests.foreign.cloud.oss import Oss
from tests.foreign.cloud.signatures import Key
from tests.foreign.cloud.web import serve

ACCESS_KEY_ID: Final = "foreign-access-key"
ACCESS_KEY_SECRET: Final = "foreign-access-secret"


def main() -> None:
    """Serve one region."""
    parser = argparse.ArgumentParser(prog="python -m tests.foreign.cloud", description="One region as a process.")
    parser.add_argument("--region", required=True)
    parser.add_argument("--root", type=Path, required=True, help="where its bytes and documents are kept")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bucket", action="append", default=[])
    parser.add_argument("--nas", type=Path, help="the directory of NAS servers; default ROOT/nas")
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    key = Key(ACCESS_KEY_ID, ACCESS_KEY_SECRET, options.region)
    store = ObjectStore(options.root, options.bucket)
    documents = Documents(options.root / "fc.db")
    mounts = Mounts(store.mount, options.nas or options.root / "nas")
    instances = Instances(options.region, options.root / "instances", mounts)
    fc = Fc(key, Functions(options.region, documents), instances)
    oss = Oss(key, store)
    server = serve(options.port, lambda request: (fc if request.path.startswith(PREFIX) else oss).answer(request))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    sys.stdout.write(json.dumps({"region": options.region, "url": f"http://127.0.0.1:{server.server_port}"}) + "\n")
    sys.stdout.flush()

    def watch_parent() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(target=watch_parent, daemon=True).start()
    ended.wait()
    server.shutdown()
    instances.close()


if __name__ == "__main__":
    main()
