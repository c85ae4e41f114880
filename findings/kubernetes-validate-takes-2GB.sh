#!/usr/bin/env bash
# Guess (before the run): `kubernetes-validate --strict` refuses a memory limit of "2GB", which no API server
#   accepts.
# Found: it accepts it, and "lots" too, a port 70000, a name with capitals, a selector that fits none of its own
#   labels, and a mount of a volume that is not declared. It checks types and unknown keys, no values.
# Version: kubernetes-validate 1.37.0, schemas of Kubernetes 1.33.
# Why it matters: it is the gate that a chart's test uses where there is no cluster. A green gate says nothing about
#   quantities, names, ports and references: these need checks of their own.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install kubernetes-validate==1.37.0 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import copy, sys
import kubernetes_validate as kv

pod = {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}],
                       "resources": {"limits": {"memory": "1Gi"}}}]}
good = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "syncer"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": pod}}}

def accepted(change):
    document = copy.deepcopy(good)
    change(document, document["spec"]["template"]["spec"]["containers"][0])
    try:
        kv.validate(document, "1.33", strict=True)
    except kv.ValidationError:
        return False
    return True

changes = {
    "nothing": lambda d, c: None,
    "memory 2GB": lambda d, c: c["resources"]["limits"].update(memory="2GB"),
    "memory lots": lambda d, c: c["resources"]["limits"].update(memory="lots"),
    "port 70000": lambda d, c: c["ports"][0].update(containerPort=70000),
    "name Sync_ER": lambda d, c: d["metadata"].update(name="Sync_ER"),
    "selector of no pod": lambda d, c: d["spec"]["selector"]["matchLabels"].update(app="b"),
    "volume not declared": lambda d, c: c.update(volumeMounts=[{"name": "gone", "mountPath": "/x"}]),
    "env value a number": lambda d, c: c["env"][0].update(value=1),
    "unknown key": lambda d, c: c.update(imagePullPolice="Always"),
}
seen = {name: accepted(change) for name, change in changes.items()}
for name, good_enough in seen.items():
    print(f"{name:22}{'accepted' if good_enough else 'refused'}")
sys.exit(0 if list(seen.values()) == [True] * 7 + [False] * 2 else 1)
PY
