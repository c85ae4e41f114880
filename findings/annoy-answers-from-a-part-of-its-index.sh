#!/usr/bin/env bash
# Guess (before the run): an index whose end is missing does not load, since the roots of its trees are there.
# Found: nothing in the file says how long it is. If what is left is a multiple of the size of a node, it loads with
#   success, takes the last nodes for the roots, believes in as many items as one of those has below it, and answers
#   every query, wrongly. Any other length is an error.
# Version: annoy 1.17.3.
# Why it matters: a retrieval index is released together with its embedding model. Half of one answers as fast as the
#   whole, and a health check that asks for any answer is content; a probe must compare an answer, and the copy must be
#   proven by its digest.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install annoy==1.17.3 2> pip.log || { cat pip.log; exit 2; }
cat > run.py <<'PY'
import random

from annoy import AnnoyIndex

DIMENSIONS, ITEMS = 8, 1000
NODE_BYTES = 16 + 4 * DIMENSIONS
random.seed(0)
vectors = [[random.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(ITEMS)]
index = AnnoyIndex(DIMENSIONS, "euclidean")
for number, vector in enumerate(vectors):
    index.add_item(number, vector)
index.set_seed(1)
index.build(5)
index.save("whole.ann")
whole = open("whole.ann", "rb").read()
nodes, rest = divmod(len(whole), NODE_BYTES)
assert rest == 0


def finds_itself(found: AnnoyIndex) -> int:
    return sum(found.get_nns_by_vector(vector, 1) == [number] for number, vector in enumerate(vectors))


print(f"whole: {index.get_n_items()} items, {index.get_n_trees()} trees; {finds_itself(index)} find themselves")
assert finds_itself(index) > ITEMS * 0.9
for share in (0.9, 0.6):
    with open("part.ann", "wb") as file:
        file.write(whole[: int(nodes * share) * NODE_BYTES])
    part = AnnoyIndex(DIMENSIONS, "euclidean")
    loaded = part.load("part.ann")
    right = finds_itself(part)
    print(f"{share:.0%}: load says {loaded}; {part.get_n_items()} items, {part.get_n_trees()} trees; {right} find themselves")
    assert loaded is True
    assert right < ITEMS * 0.1
    assert len(part.get_nns_by_vector(vectors[0], 5)) == 5
with open("part.ann", "wb") as file:
    file.write(whole[:-20])
try:
    AnnoyIndex(DIMENSIONS, "euclidean").load("part.ann")
except OSError as error:
    print("20 bytes less:", str(error).split(".")[0])
else:
    raise SystemExit("a length between two nodes is accepted")
PY
venv/bin/python run.py || exit 1
