"""Limits of one request to the scoring server: its flags set them, its answers name them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request may bring."""

    body_bytes: int = 2**20
    texts: int = 10_000
