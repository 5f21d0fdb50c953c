"""Dumps, statistics, logs and manifests read and judged."""
