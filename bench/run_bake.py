"""One bake as a process, for `bench.bounds`: a generated model of one layer, notes in SQLite.

Its only argument is a JSON object with the fields of `Order`. It prints how many bytes it sent.
"""

import gc
import json
import sys
from dataclasses import dataclass

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import parse_model, parse_path, parse_version
from syncd.oci.build import ImageBuilder, ImageRecipe
from syncd.oci.images import base_of
from syncd.state.content.layers import SqlUploadJournal
from syncd.state.state import State
from syncd.tuning import share_one_arena
from syncd.wiring_images import repositories_of

from bench.run_bounds import Zeros


@dataclass(frozen=True, slots=True)
class Order:
    """The file is all zeros."""

    size_bytes: int
    sha256: str
    repository: str
    base: str
    record: str


def run(order: Order) -> int:
    """Bake it. Gives how many bytes were sent of what is not the base's."""
    entry = Entry(parse_path("0.safetensors"), order.size_bytes, Digest(order.sha256))
    manifest = Manifest.of(parse_model("m"), parse_version("v1"), [entry])
    record = f"sqlite:///{order.record}"
    repository, source, wanted = repositories_of(order.repository, order.base, None, record=record)
    state = State(record)
    baked = ImageBuilder(repository, SqlUploadJournal(state, str(repository))).bake(
        manifest,
        lambda entry, offset_bytes: Zeros(entry.size_bytes - offset_bytes),
        base_of(source, wanted),
        ImageRecipe("/models/m"),
    )
    state.close()
    return sum(layer.bytes_sent for layer in baked.layers[1:])


def main() -> None:
    share_one_arena()
    gc.freeze()
    print(run(Order(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
