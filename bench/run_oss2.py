"""One run of oss2's own uploader: `resumable_upload`, two large files at a time, or many small ones."""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import oss2

from bench.files import names_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--files-in-flight", type=int, required=True)
    parser.add_argument("--no-crc", action="store_true")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    auth = oss2.AuthV4("key", "secret")
    session = oss2.Session(pool_size=32)
    bucket = oss2.Bucket(
        auth, options.endpoint, options.bucket, session=session, region="cn-hangzhou", enable_crc=not options.no_crc
    )
    names = names_in(options.directory)
    with tempfile.TemporaryDirectory() as notes, ThreadPoolExecutor(options.files_in_flight) as pool:
        store = oss2.ResumableStore(root=notes)

        def send(name: str) -> None:
            path = str(options.directory / name)
            oss2.resumable_upload(bucket, f"up/{name}", path, store=store, num_threads=4)

        list(pool.map(send, names))


if __name__ == "__main__":
    main()
