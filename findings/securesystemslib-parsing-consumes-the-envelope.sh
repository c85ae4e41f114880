#!/usr/bin/env bash
# Guess (before the run): Envelope.from_dict leaves the dictionary that it is given as it was, as json.loads' result is
#   anybody's; parsing it twice gives the same envelope twice.
# Found: it takes the keys of each signature out of that dictionary. What is left has empty signatures, so a second
#   parse fails with KeyError, and what is written to disk afterwards is a statement that nobody signed.
# Version: securesystemslib 1.6.0.
# Why it matters: whoever distributes models checks an attestation and then stores or forwards it. Done with one
#   dictionary, the check succeeds and the stored file has lost its signatures.
# Source: run here; securesystemslib/dsse.py gives each signature to Signature.from_dict, which pops "keyid" and "sig".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install securesystemslib==1.6.0 cryptography 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import copy, json, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

signer = CryptoSigner(Ed25519PrivateKey.generate())
envelope = Envelope(json.dumps({"model": "v1"}).encode(), "application/vnd.in-toto+json", {})
envelope.sign(signer)
sent = envelope.to_dict()
kept = copy.deepcopy(sent)
Envelope.from_dict(sent).verify([signer.public_key], 1)
try:
    Envelope.from_dict(sent).verify([signer.public_key], 1)
    again = "verified"
except Exception as error:  # noqa: BLE001
    again = type(error).__name__
print(f"before {sorted(kept['signatures'][0])}, after one parse {sent}, a second parse: {again}")
is_changed = sent != kept
Envelope.from_dict(kept).verify([signer.public_key], 1)  # the copy verifies
sys.exit(0 if again == "KeyError" and is_changed else 1)
PY
