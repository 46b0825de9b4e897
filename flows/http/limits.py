"""Limits of the scoring server: its flags set them, its answers name those of one request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request may bring."""

    body_bytes: int = 2**20
    texts: int = 10_000


CONNECTIONS, OF_ONE_CLIENT = 1000, 500  # at once
