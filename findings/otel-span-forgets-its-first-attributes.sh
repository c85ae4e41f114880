#!/usr/bin/env bash
# Guess (before the run): a span at its limit of 128 attributes or events refuses what comes later and keeps the
#   first.
# Found: it drops the oldest. After 140 more attributes the span of a release has lost the release's own id, and its
#   first twelve events. Each drop of an attribute writes one line to the library's log, a dropped event none.
# Version: opentelemetry-sdk 1.45.2.
# Why it matters: one trace per release, with attributes and events per region, target and file, reaches 128 easily.
#   What identifies the release was set first and goes first, so the trace cannot be found. Put identity on the
#   resource or on child spans, or raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT.
# Source: run here; the specification says that attributes beyond the limit are discarded.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install opentelemetry-sdk==1.45.2 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - 2> log <<'PY'
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
with provider.get_tracer("t").start_as_current_span("release", attributes={"release.id": "r-20"}) as span:
    for number in range(140):
        span.set_attribute(f"target.{number}.sealed", True)
        span.add_event(f"event {number}")
done = exporter.get_finished_spans()[0]
print(f"attributes kept {len(done.attributes)}, release.id kept: {'release.id' in done.attributes}; "
      f"events kept {len(done.events)}, first: {done.events[0].name!r}, last: {done.events[-1].name!r}")
sys.exit(0 if "release.id" not in done.attributes and done.events[0].name == "event 12" else 1)
PY
echo "lines in the log: $(wc -l < log) ($(sort -u log | head -1))"
