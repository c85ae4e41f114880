#!/usr/bin/env bash
# Guess (before the run): in a directory with an older `model.safetensors` and a newer set of shards with its index, the
#   index wins or the ambiguity is an error; and saving a model removes what an earlier save left.
# Found: neither. `save_pretrained` removes shards of an earlier save but not its `model.safetensors`, and
#   `from_pretrained` of the same directory takes that file, without a warning: what was just saved is not what loads.
# Version: transformers 5.24.0, torch 2.13.0.
# Why it matters: a training job that begins to shard (a larger model, a smaller `max_shard_size`) and saves into the
#   directory that it used before publishes both. Every byte arrives and is proven, the release is live, and the old
#   weights answer. A version needs a directory of its own, and a publisher must refuse or filter one of the two.
# Source: run here. (About 1 GB is installed.)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.24.0 2> pip.log || { cat pip.log; exit 2; }
cat > run.py <<'PY'
import os
import warnings

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
first, second = LlamaForCausalLM(config), LlamaForCausalLM(config)


def which(model: torch.nn.Module) -> str:
    tensors = model.state_dict()
    for name, known in (("the first", first), ("the second", second)):
        if all(torch.equal(tensors[key], value) for key, value in known.state_dict().items()):
            return name
    return "a mixture"


first.save_pretrained("model")
second.save_pretrained("model", max_shard_size="30KB")
print("in the directory:", *sorted(os.listdir("model")))
with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)
    loaded = which(AutoModelForCausalLM.from_pretrained("model"))
print("saved last: the second; loaded:", loaded)
os.remove("model/model.safetensors")
alone = which(AutoModelForCausalLM.from_pretrained("model"))
print("without model.safetensors:", alone)
assert (loaded, alone) == ("the first", "the second")
first.save_pretrained("model", max_shard_size="200KB")
left = [name for name in sorted(os.listdir("model")) if name.endswith("-of-00004.safetensors")]
print("shards of the second after the next sharded save:", left or "none")
assert not left
PY
HF_HUB_OFFLINE=1 venv/bin/python run.py 2> run.log || { cat run.log; exit 1; }
