"""The fields that say where a run computes what can be computed in parts."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from lib.extras import require
from lib.recipes.sections import Section, Text

ADDRESS = re.compile(r"(ray://)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


class Cluster(Section):
    """Where the parts of a step are computed: messages are read, tokenized, turned into features, predicted and scored
    some thousands at a time; and where the processes of a training are, if there are several. Results are the same
    wherever that happens, so no cache key has these fields."""

    kind: Literal["local", "ray"] = Field(
        default="local",
        description="local: processes of this machine; ray: a Ray cluster that is running (extra `cluster`)",
    )
    address: Text | None = Field(
        default=None,
        description="with kind ray: that of the cluster, host:port from one of its machines or ray://host:port from any"
        " other (null: the cluster that this machine is part of, or that RAY_ADDRESS names)",
    )
    workers: int = Field(
        default=1,
        ge=1,
        description="parts that are computed at the same time, each by a process (1 with kind local: the run's own"
        " process, and no other is started)",
    )

    def require_extras(self) -> None:
        """Raises ExtraError if a package is missing that this kind of cluster needs."""
        if self.kind == "ray":
            require("ray", "cluster", "cluster.kind ray")

    @model_validator(mode="after")
    def _address_is_that_of_a_cluster(self) -> Cluster:
        if self.address is None:
            return self
        if self.kind != "ray":
            raise ValueError(
                f"cluster.address names a Ray cluster, but cluster.kind is {self.kind!r}: set it to 'ray', or leave the"
                " address out"
            )
        if not ADDRESS.fullmatch(self.address):
            raise ValueError(
                f"cluster.address is {self.address!r}: write host:port, as in 10.0.0.5:6379, or ray://host:port"
            )
        return self
