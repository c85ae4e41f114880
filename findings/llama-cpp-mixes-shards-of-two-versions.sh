#!/usr/bin/env bash
# Guess (before the run): llama.cpp refuses a split GGUF whose shards come from two versions of the model: something in
#   `split.*` tells them apart.
# Found: the shards carry a number, a count and the count of tensors, which two versions of one architecture share. With
#   the second of three shards from another version the model loads without a warning and answers what neither version
#   does. gguf-py leaves old shards where they are when a new version has fewer, so such folders come about.
# Version: xllamacpp 2026.10.11549 (llama.cpp), gguf 0.19.0.
# Why it matters: shards are many, large and fetched one by one. A download that was resumed across an update of the
#   source serves a model that nobody made, and loading is no proof. Only a list of digests over all shards is.
# Source: run here; the keys that gguf-py writes (gguf/gguf_writer.py, add_shard_kv_data).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
cat > ask.py <<'PY'
import json, os, sys
import xllamacpp

settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.warmup, settings.cpuparams.n_threads = sys.argv[1], 64, False, 1
answer = xllamacpp.Server(settings).handle_completions({"prompt": "t1", "n_predict": 8, "temperature": 0, "seed": 1})
answer = json.loads(answer) if isinstance(answer, (str, bytes)) else answer
print(ascii(answer["choices"][0]["text"] if "choices" in answer else answer["content"]), flush=True)
os._exit(0)
PY
venv/bin/python - <<'PY'
import pathlib, shutil, subprocess, sys
import gguf, numpy as np

WIDTH, INNER, WORDS = 64, 128, 300

def make(folder, seed, split):
    chance = np.random.default_rng(seed)
    pathlib.Path(folder).mkdir(exist_ok=True)
    to = gguf.GGUFWriter(f"{folder}/m.gguf", "llama", split_max_tensors=split)
    for key, value in {"context_length": 128, "embedding_length": WIDTH, "block_count": 1, "feed_forward_length": INNER,
                       "head_count": 2, "head_count_kv": 2, "layer_norm_rms_eps": 1e-5, "rope_dimension_count": WIDTH // 2, "vocab_size": WORDS}.items():
        getattr(to, f"add_{key}")(value)
    to.add_tokenizer_model("llama")
    to.add_token_list([b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)] + [b"t%d" % i for i in range(WORDS - 259)])
    to.add_token_scores([0.0] * WORDS)
    to.add_token_types([2, 3, 3] + [6] * 256 + [1] * (WORDS - 259))
    for key, value in {"bos": 1, "eos": 2, "unk": 0}.items():
        getattr(to, f"add_{key}_token_id")(value)
    shapes = {"token_embd": (WORDS, WIDTH), **{f"blk.0.attn_{n}": (WIDTH, WIDTH) for n in ("q", "k", "v", "output")},
              "blk.0.ffn_gate": (INNER, WIDTH), "blk.0.ffn_up": (INNER, WIDTH), "blk.0.ffn_down": (WIDTH, INNER), "output": (WORDS, WIDTH)}
    for name, shape in shapes.items():
        to.add_tensor(f"{name}.weight", chance.standard_normal(shape).astype(np.float32) / 5)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        to.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    to.write_header_to_file()
    to.write_kv_data_to_file()
    to.write_tensors_to_file()
    to.close()

def ask(folder):
    done = subprocess.run([sys.executable, "ask.py", f"{folder}/m-00001-of-00003.gguf"], capture_output=True, text=True, timeout=300, check=False)
    return done.stdout.strip() or f"exit code {done.returncode}"

make("one", 1, 5)
make("two", 2, 5)
shutil.copytree("one", "mixed")
shutil.copy("two/m-00002-of-00003.gguf", "mixed")
shard = gguf.GGUFReader("one/m-00002-of-00003.gguf")
print("what the second shard says:", {k: int(f.contents()) for k, f in shard.fields.items() if k.startswith("split")})
answers = {folder: ask(folder) for folder in ("one", "two", "mixed")}
shutil.copytree("one", "absent")
pathlib.Path("absent/m-00003-of-00003.gguf").unlink()
answers["absent"] = ask("absent")
for name, answer in answers.items():
    print(f"{name:7}{answer}")
make("one", 2, 8)
names = sorted(path.name for path in pathlib.Path("one").iterdir())
print("after a version of two shards was written over three:", names)
sys.exit(0 if len({answers[n] for n in ("one", "two", "mixed")}) == 3 and answers["mixed"][0] in "'\"" and len(names) == 5
         and answers["absent"].startswith("exit code") else 1)
PY
