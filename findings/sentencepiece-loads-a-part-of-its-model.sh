#!/usr/bin/env bash
# Guess (before the run): a tokenizer file that ends early does not load: it says itself how large its vocabulary is.
# Found: a file that ends between two pieces loads without an error or a line on the screen. The vocabulary is smaller,
#   and the last entries of the file, how text is normalised and which algorithm cuts it, are defaults: full-width
#   letters, which the whole model reads as plain ones, become unknown, and so do words of the lost pieces.
# Version: sentencepiece 0.2.3.
# Why it matters: `tokenizer.model` lies beside the weights of many language models. A part of it starts, passes a
#   health check and gives the model other numbers than it was trained with. Size and digest must be proven before the
#   file is used; that it loads proves nothing.
# Source: run here; the format is a protocol buffer message, sentencepiece_model.proto, in which every field may be
#   absent, and a message that ends after a field is a message.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install sentencepiece==0.2.3 2> pip.log || { cat pip.log; exit 2; }
cat > run.py <<'PY'
import io
import itertools

import sentencepiece as sp

WORDS = ["alpha", "beta", "gamma", "delta", "model", "region", "alias", "bytes"]
lines = [" ".join(WORDS[(n * k) % 8] for k in (1, 3, 5, 7, 2)) for n in range(500)]
written = io.BytesIO()
sp.SentencePieceTrainer.train(
    sentence_iterator=iter(lines), model_writer=written, vocab_size=60, model_type="bpe", minloglevel=2
)
whole = written.getvalue()


def number(at: int) -> tuple[int, int]:
    found = 0
    for shift in itertools.count(0, 7):
        found |= (whole[at] & 127) << shift
        at += 1
        if whole[at - 1] < 128:
            return found, at


def ends_of_pieces() -> list[int]:
    at, ends = 0, []
    while at < len(whole):
        key, at = number(at)
        size, at = number(at)
        at += size
        if key >> 3 == 1:
            ends.append(at)
    return ends


ends = ends_of_pieces()
loaded = []
for end in range(1, ends[-1] + 1):
    try:
        loaded.append(sp.SentencePieceProcessor(model_proto=whole[:end]).vocab_size())
    except RuntimeError:
        continue
open("part.model", "wb").write(whole[: ends[29]])
full, part = sp.SentencePieceProcessor(model_proto=whole), sp.SentencePieceProcessor(model_file="part.model")
for text in ("alpha region", "ａｌｐｈａ region"):
    print(text, "->", full.encode(text, out_type=str), "but", part.encode(text, out_type=str))
print(f"{len(whole)} bytes have {full.vocab_size()} pieces; the first {ends[29]} load with {part.vocab_size()}")
print(f"{len(loaded)} of the {ends[-1]} shortest parts load")
plain, wide = "alpha region", "ａｌｐｈａ region"
assert full.encode(plain) == full.encode(wide)
assert part.encode(plain) != part.encode(wide)
assert part.encode(plain) != full.encode(plain)
assert part.vocab_size() == 30 < full.vocab_size() == 60
assert len(loaded) > len(ends) // 2
PY
venv/bin/python run.py 2> run.log || { cat run.log; exit 1; }
