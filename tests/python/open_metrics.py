"""Reads OpenMetrics from standard input, strictly; prints the samples that have exemplars, each name once."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

names = set()
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        if sample.exemplar:
            assert set(sample.exemplar.labels) == {"trace_id", "span_id"}, sample
            names.add(sample.name)
for name in sorted(names):
    print(name)
