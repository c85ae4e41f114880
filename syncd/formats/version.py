"""One version: are the files that belong together all there?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from syncd.errors import Corrupt
from syncd.formats import documents, indexes, names
from syncd.formats.contents import Contents, cut_off, damaged, leaving, missing
from syncd.formats.names import name_of

_WEIGHTS_OF_ADAPTERS: Final = ("adapter", "lora")
_LEFT_OVER_MAX: Final = 3  # are named
_NO_WEIGHTS: Final = (".json", ".txt", ".md", ".py", ".jinja", ".yaml", ".yml", ".gitattributes", ".gitignore")


def check_together(sizes: Mapping[str, int], contents: Mapping[str, Contents]) -> Sequence[str]:
    """Check the files of a version against each other. `contents` are those of the files that were read.

    Gives warnings: what a loader may do unexpectedly.

    Raises:
        Invalid: A file is missing that another one needs.
        Corrupt: A file is shorter than another one needs it.
    """
    adapted = {indexes.folder(path) for path in sizes if _is_of_adapter(path)}
    folders = _folders(sizes, contents)
    named = {path: [need.path for need in each.needs] for path, each in contents.items() if each.format == "index"}
    for path, each in sorted(contents.items()):
        _check_needs(path, each, sizes, folders)
        _check_offsets(path, each, contents)
        if each.format == "adapter":
            _check_adapter(path, adapted)
        elif each.format == "pipeline":
            _check_components(path, each, sizes, folders)
    lost = indexes.missing_shard(sizes, named)
    if lost is not None:
        raise missing(lost[0], f"the names of the others say that it belongs to them, as {lost[1]}", lost[1])
    _check_checkpoints(sizes)
    return (*_ambiguous(sizes, named), *_left_over(sizes, named), *_unlisted(sizes))


def misnamed_blobs(digests: Mapping[str, str]) -> Corrupt | None:
    """The first blob of a store of ollama whose SHA-256 is not its name. `digests` are hexadecimal, by path."""
    for path, digest in sorted(digests.items()):
        match = documents.BLOB.fullmatch(path)
        if match and match[1] != digest:
            return damaged(path, f"has sha256 {digest}, its name says another")
    return None


def _check_needs(path: str, found: Contents, sizes: Mapping[str, int], folders: Mapping[str, bool]) -> None:
    lost = [need.path for need in found.needs if need.path not in sizes and need.path not in folders]
    if lost:
        others = f", and {len(lost) - 1} others" if len(lost) > 1 else ""
        raise missing(lost[0], f"{path} names it{others}", path)
    for need in found.needs:
        if sizes.get(need.path, need.size_bytes) < need.size_bytes:
            raise cut_off(need.path, sizes[need.path], f"{path} needs {need.size_bytes} of it")


def _check_offsets(path: str, found: Contents, contents: Mapping[str, Contents]) -> None:
    """A safetensors file that is saved again with other metadata has the same tensors at other offsets."""
    for need in found.needs:
        header = contents[need.path].data_begins if need.path in contents else 0
        if need.begin_bytes is not None and need.begin_bytes < header:
            fault = f"has a tensor at byte {need.begin_bytes} of {need.path}, whose header ends at {header}"
            raise damaged(path, fault, "the two were not saved together")


def _folders(sizes: Mapping[str, int], contents: Mapping[str, Contents]) -> Mapping[str, bool]:
    """The folders that the documents name and that have files, each with whether one may be a file of weights.

    In one pass: a version may have a million files, and name thousands of folders.
    """
    wanted = {need.path for each in contents.values() for need in each.needs if need.path.endswith("/")}
    wanted |= {folder for each in contents.values() for folder in each.models}
    found: dict[str, bool] = {}
    for path in sizes if wanted else ():
        is_weights = not name_of(path).endswith(_NO_WEIGHTS)
        for slash in re.finditer("/", path):
            folder = path[: slash.end()]
            if folder in wanted:
                found[folder] = found.get(folder, False) or is_weights
    return found


def _is_of_adapter(path: str) -> bool:
    return names.is_weights(path) and any(part in name_of(path) for part in _WEIGHTS_OF_ADAPTERS)


def _check_adapter(path: str, adapted: Collection[str]) -> None:
    folder = indexes.folder(path)
    if folder not in adapted:
        raise missing(f"{folder}adapter_model.safetensors", f"{path} is an adapter without weights", path)


def _check_components(path: str, found: Contents, sizes: Mapping[str, int], folders: Mapping[str, bool]) -> None:
    """A component that is a model has a `config.json`, and then weights of some format."""
    for folder in found.models:
        if f"{folder}config.json" in sizes and not folders[folder]:
            raise missing(f"{folder}'s file of weights", f"{path} names a model there", path)


def _check_checkpoints(sizes: Mapping[str, int]) -> None:
    for path in sorted(each for each in sizes if ".data-" in each):
        base, separator, _ = path.rpartition(".data-")
        if separator and indexes.is_shard(path) and f"{base}.index" not in sizes and "/" not in path[len(base) :]:
            raise missing(f"{base}.index", f"{path} is a shard of a TensorFlow checkpoint", path)


def _ambiguous(sizes: Mapping[str, int], named: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for index, own in sorted(named.items()):
        for single in indexes.single_of(index):
            if single in sizes and single not in own:
                yield (f"{single} and {index} are the same weights twice: loaders take the single file, "
                       f"even if it is the older one; leave one out: {leaving(single)}")  # fmt: skip


def _left_over(sizes: Mapping[str, int], named: Mapping[str, Sequence[str]]) -> Iterator[str]:
    found = list(indexes.left_over(sizes, named))
    for path, index in found[:_LEFT_OVER_MAX]:
        yield f"{path} is not named by {index}, so that no loader reads it; leave it out: {leaving(path)}"
    if len(found) > _LEFT_OVER_MAX:
        yield f"{len(found) - _LEFT_OVER_MAX} more shards are not named by their index"


def _unlisted(sizes: Mapping[str, int]) -> Iterator[str]:
    """Seen with sentence-transformers 6.2.0: it says so at the level INFO only."""
    for path in sorted(each for each in sizes if name_of(each) == documents.OF_MODULES):
        listing = f"{indexes.folder(path)}{documents.MODULES}"
        if listing not in sizes:
            yield (f"there is no {listing} beside {path}: sentence-transformers loads the transformer alone, with mean "
                   "pooling, and gives other vectors; distribute that file as well")  # fmt: skip
