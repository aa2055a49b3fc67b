"""Where a simulation's clients train, and in which precision."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from fedlearn.config.section import Section

_NAME = re.compile(r"cpu|cuda:\d{1,3}")


class DevicesConfig(Section):
    """Where a simulation's clients train, and in which precision."""

    use: str | list[str] = Field(
        default="cpu",
        description="cpu, cuda:N or a list of these GPUs; auto: every GPU there is, else the CPU",
    )
    clients_per_gpu: int = Field(
        default=1, ge=1, le=64, description="clients that train on a GPU at a time, each in its own worker"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="of forward and backward passes (autocast); parameters, clipping and noise stay float32",
    )
    compile: bool = Field(default=False, description="compile the model with torch.compile in each worker")

    @property
    def names(self) -> tuple[str, ...]:
        """The devices by name, or ``("auto",)``."""
        return (self.use,) if isinstance(self.use, str) else tuple(self.use)

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        names = self.names
        for name in names:
            if not _NAME.fullmatch(name) and names != ("auto",):
                raise ValueError(f"use={name!r} is no device; write cpu, auto, cuda:0, or a list of GPUs")
        if not names or len(set(names)) < len(names) or ("cpu" in names and len(names) > 1):
            raise ValueError(f"use={self.use!r} must name one device, or different GPUs")
        if self.precision == "float16" and names == ("cpu",):
            raise ValueError(
                "precision='float16' needs a GPU: CPUs compute it slower than float32; use bfloat16"
            )
        return self
