#!/usr/bin/env bash
# Guess (before the run): a directory that has lost `modules.json` is refused: the file lists what the model consists of.
# Found: it loads. The transformer alone is taken, mean pooling put behind it, and the pooling, the projection and the
#   normalisation that lie in the directory are not read: vectors have another length and other directions. The only
#   sign is a line of the log at the level INFO. A lost file of one of the modules, in contrast, is an error.
# Version: sentence-transformers 6.2.0, transformers 5.24.0, torch 2.13.0.
# Why it matters: a filter that selects the weights and their known companions ("*.safetensors", "config.json",
#   "tokenizer*") makes exactly this of an embedding model. It starts, answers, and every distance to what is in the
#   index is wrong; where the lengths happen to be equal, nothing ever fails. A probe must compare a vector.
# Source: run here. (About 1 GB is installed.)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.24.0 sentence-transformers==6.2.0 2> pip.log || { cat pip.log; exit 2; }
cat > run.py <<'PY'
import logging
import os

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizerFast

torch.manual_seed(0)
os.mkdir("bert")
with open("bert/vocab.txt", "w") as file:
    file.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "alpha", "beta"]))
BertTokenizerFast(vocab_file="bert/vocab.txt").save_pretrained("bert")
sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
BertModel(BertConfig(vocab_size=7, **sizes)).save_pretrained("bert")
parts = [Transformer("bert"), Pooling(32, pooling_mode="cls"), Dense(32, 8), Normalize()]
whole = SentenceTransformer(modules=parts, device="cpu")
whole.save("model")
right = whole.encode("alpha beta")


class Lines(logging.Handler):
    found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(f"{record.levelname} {record.getMessage()}")


logger = logging.getLogger("sentence_transformers")
logger.setLevel(logging.INFO)
logger.addHandler(Lines())
os.rename("model/modules.json", "modules.json")
part = SentenceTransformer("model", device="cpu")
wrong = part.encode("alpha beta")
kinds = [type(module).__name__ for module in part]
print("whole:", [type(module).__name__ for module in whole], right.shape, f"length {(right**2).sum() ** 0.5:.2f}")
print("without modules.json:", kinds, wrong.shape, f"length {(wrong**2).sum() ** 0.5:.2f}")
print("log:", *[line for line in Lines.found if "modules.json" in line])
assert kinds == ["Transformer", "Pooling"] and part[1].pooling_mode == "mean"
assert all(line.startswith("INFO ") for line in Lines.found)
assert right.shape == (8,) and wrong.shape == (32,)
os.rename("modules.json", "model/modules.json")
os.remove("model/2_Dense/model.safetensors")
try:
    SentenceTransformer("model", device="cpu")
except ValueError as error:
    print("without 2_Dense/model.safetensors:", error)
else:
    raise SystemExit("a lost file of a module is accepted")
PY
HF_HUB_OFFLINE=1 venv/bin/python run.py 2> run.log || { cat run.log; exit 1; }
