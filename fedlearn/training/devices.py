"""Where a process computes, and in which precision.

Nothing here touches CUDA before :meth:`Device.opened`: workers are forked, and a process that is forked
from one that has opened CUDA cannot open it again. GPUs are counted through the driver's management
library, which opens nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import torch

from fedlearn.config import DevicesConfig
from fedlearn.errors import ConfigError

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device and how it computes; a value, which holds nothing of the device.

    Attributes:
      name: ``"cpu"`` or ``"cuda:N"``.
      precision: of forward and backward passes; parameters, gradients and updates are float32 always.
      compile: whether models are compiled.
    """

    name: str = "cpu"
    precision: Precision = "float32"
    compile: bool = False

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.name != "cpu"

    def opened(self) -> torch.device:
        """Returns the device, opened in this process."""
        return opened(self.name)

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context in which a forward pass has this precision."""
        if self.precision == "float32":
            return nullcontext()
        kind = self.name.partition(":")[0]
        return torch.autocast(kind, dtype=getattr(torch, self.precision))


PROCESSOR: Final = Device()
"""The CPU, in full precision."""


def on_processor(config: DevicesConfig) -> Device:
    """Returns the CPU with the precision asked for: for whoever trains outside the workers of a simulation.

    float16 is for GPUs; here it is float32.
    """
    precision = "float32" if config.precision == "float16" else config.precision
    return Device(precision=precision, compile=config.compile)


def opened(name: str) -> torch.device:
    """Returns a device, opened in this process."""
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def present() -> tuple[str, ...]:
    """Returns the names of the GPUs of this machine, without opening any."""
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))


def any_open() -> bool:
    """Returns whether this process has opened a GPU."""
    opened: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return opened


def devices_of(config: DevicesConfig) -> tuple[Device, ...]:
    """Returns the devices that a configuration asks for, at least one.

    Raises:
      ConfigError: one that is not there, with what is there; or no C++ compiler for ``compile``.
    """
    there = present()
    names = config.names
    if names == ("auto",):
        names = there or ("cpu",)
    missing = [name for name in names if name != "cpu" and name not in there]
    if missing:
        raise ConfigError(f"devices.use: {', '.join(missing)} is not there; {_seen(there)}")
    if names == ("cpu",) and config.precision == "float16":
        raise ConfigError("devices.precision='float16' needs a GPU, and auto found none; use bfloat16")
    if config.compile and names == ("cpu",) and not _has_compiler():
        raise ConfigError("devices.compile needs a C++ compiler (g++ or clang++) on the PATH; leave it out")
    return tuple(Device(name=name, precision=config.precision, compile=config.compile) for name in names)


def _seen(there: tuple[str, ...]) -> str:
    if there:
        return f"this machine has cpu, {', '.join(there)}"
    build = "" if torch.version.cuda else f" (torch {torch.__version__} is built without CUDA)"
    return f"this machine has cpu and no GPU that torch can use{build}"


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Lets torch's generators of this process draw from a seed, and go on afterwards as if they had not."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[torch.cuda.current_device()])
    states = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


class LossScale:
    """Keeps small gradients of a float16 pass above zero (Micikevicius et al. 2018, section 3.2).

    The loss is multiplied before the backward pass and the gradient divided after it. Starts anew in each
    round of a client, so that no client sees what another has met.
    """

    FIRST = 1024.0

    def __init__(self) -> None:
        self.factor = self.FIRST

    def restored(self, gradient: torch.Tensor) -> bool:
        """Divides a gradient in place; False if it overflowed: halve the factor and skip the step."""
        if not bool(torch.isfinite(gradient).all()):
            self.factor /= 2
            return False
        gradient.div_(self.factor)
        return True
