"""How good the classifier is, in figures and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.step import Work, step

if TYPE_CHECKING:
    from lib.artifacts import Artifact
