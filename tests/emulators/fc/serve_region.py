"""A region in its own process: prints its port and serves until it is killed."""

import sys
import threading
from pathlib import Path

from syncd.localcloud.account import Account, AccountKey
from syncd.localcloud.counters import Counters
from syncd.localcloud.faults import FaultScript
from syncd.localcloud.fc import FcRegion, Settings
from syncd.localcloud.httpd import HttpServer

from tests.emulators.fc.calls import ACCOUNT, KEY, REGION, SECRET, Buckets


def main() -> None:
    root = Path(sys.argv[1])
    region = FcRegion(
        region=REGION,
        account_id=ACCOUNT,
        root=root,
        credentials=Account(ACCOUNT, (AccountKey(KEY, SECRET),)),
        oss=Buckets(root / "buckets"),
        nas_root=root / "nas",
        faults=FaultScript(),
        counters=Counters(),
        settings=Settings(create_s=0, update_s=0),
    )
    region.start()
    server = HttpServer(region.handle)
    server.start()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
