#!/usr/bin/env bash
# Guess (before the run): a bill of materials of a model, read by CycloneDX's own Python library and written again, is the
#   same document.
# Found: the whole `modelCard` of a machine-learning-model is gone, without an error or a warning, though the library's own
#   strict validator accepts the document. Task, training datasets, limitations: nothing of them is left.
# Version: cyclonedx-python-lib 11.12.0, CycloneDX 1.6.
# Why it matters: an ML-BOM says what a model was made of and for. Whoever merges, signs or enriches one with this library
#   publishes a valid bill that says nothing about the model any more.
# Source: run here; the document is read with Bom.from_json and written with the 1.6 JSON outputter.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install 'cyclonedx-python-lib[json-validation]==11.12.0' 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python -W ignore - <<'PY'
import json, sys
from cyclonedx.model.bom import Bom
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

card = {
    "modelParameters": {"task": "text-to-image", "datasets": [{"type": "dataset", "name": "photos"}]},
    "considerations": {"technicalLimitations": ["hands"]},
}
model = {"type": "machine-learning-model", "bom-ref": "m", "name": "sdxl", "version": "v1", "modelCard": card}
document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [model]}
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
written = JsonV1Dot6(Bom.from_json(json.loads(json.dumps(document)))).output_as_string()
after = JsonStrictValidator(SchemaVersion.V1_6).validate_str(written)
(found,) = json.loads(written)["components"]
print(f"valid before: {fault is None}, valid after: {after is None}, keys before: {sorted(model)}, after: {sorted(found)}")
sys.exit(0 if fault is None and after is None and "modelCard" not in found and found["name"] == "sdxl" else 1)
PY
