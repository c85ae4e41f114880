"""One run of alibabacloud-oss-v2's own uploader, with its defaults: two large files at a time, or many small ones."""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import alibabacloud_oss_v2 as oss

from bench.files import names_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--files-in-flight", type=int, required=True)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider("key", "secret")
    config.region, config.endpoint, config.use_path_style = "cn-hangzhou", options.endpoint, True
    uploader = oss.Client(config).uploader()
    names = names_in(options.directory)

    def send(name: str) -> None:
        request = oss.PutObjectRequest(bucket=options.bucket, key=f"up/{name}")
        uploader.upload_file(request, filepath=str(options.directory / name))

    with ThreadPoolExecutor(options.files_in_flight) as pool:
        list(pool.map(send, names))


if __name__ == "__main__":
    main()
