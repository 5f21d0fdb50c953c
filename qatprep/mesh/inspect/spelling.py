"""Envoy's field names in one spelling: its YAML and JSON take camelCase as well, and istioctl prints it."""

from __future__ import annotations

import re
from typing import Any


def snake_key(key: str) -> str:
    return key if key.startswith("@") else re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower()


def snake(value: Any) -> Any:
    """Keys in snake_case, as Envoy's YAML takes camelCase as well."""
    if isinstance(value, dict):
        return {snake_key(str(key)): snake(inner) for key, inner in value.items()}
    return [snake(item) for item in value] if isinstance(value, list) else value
