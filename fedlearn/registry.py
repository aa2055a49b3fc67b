"""Parts selected by name: a registered word, or ``"package.module:Name"`` from anywhere.

A registry maps a word to an import path, so that naming the parts loads none of them.
Adding a part is one file and one line in the registry of its kind.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fedlearn.errors import ConfigError, UnknownName


def nearest(word: str, known: list[str]) -> str:
    """Returns `` Did you mean 'x'?`` for the closest of the known words, or an empty string.

    >>> nearest("epsilom", ["delta", "epsilon"])
    " Did you mean 'epsilon'?"
    """
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def import_path(path: str) -> Any:
    """Returns the object at ``"package.module:Name"``; raises UnknownName if it is not there."""
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        # ValueError and TypeError: an empty and a relative module name.
        raise UnknownName(f"{path!r} cannot be imported: {error}") from error


class Registry(Mapping[str, str]):
    """The parts of one kind: word → import path.

    Args:
      kind: what the parts are, for error messages ("model", "aggregator", …).
      paths: word → ``"package.module:Name"``.
    """

    def __init__(self, kind: str, paths: Mapping[str, str]) -> None:
        self.kind = kind
        self._paths = dict(paths)

    def __getitem__(self, name: str) -> str:
        return self._paths[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def resolve(self, name: str) -> Any:
        """Returns the part called ``name``, or the object at the import path ``name``.

        Raises:
          UnknownName: neither a registered word nor an importable path; names the nearest word.
        """
        if ":" in name:
            return import_path(name)
        if name not in self._paths:
            known = sorted(self._paths)
            raise UnknownName(
                f"{self.kind} {name!r} is not known.{nearest(name, known)}"
                f" Known: {', '.join(known)}; your own: 'package.module:Name'"
            )
        return import_path(self._paths[name])

    def build(
        self,
        name: str,
        arguments: Mapping[str, Any],
        offered: Mapping[str, Any] | None = None,
        /,
        **given: Any,
    ) -> Any:
        """Returns ``part(**given, **arguments)`` with the arguments checked by name.

        Args:
          name: the registered word or import path.
          arguments: what the user wrote, from the configuration.
          offered: what the framework supplies to parts that take it, unless the user wrote it.
          given: what the framework supplies to every part of this kind.

        Raises:
          ConfigError: an argument that the part does not take; names the nearest that it does.
        """
        part: Callable[..., Any] = self.resolve(name)
        check_arguments(part, arguments, label=f"{self.kind} {name!r}", given=frozenset(given))
        taken = {key: value for key, value in (offered or {}).items() if takes(part, key)}
        return part(**{**taken, **given, **arguments})


def takes(part: Callable[..., Any], argument: str) -> bool:
    """Returns whether a part has an argument of that name."""
    return argument in inspect.signature(part).parameters


def check_arguments(
    part: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    label: str,
    given: frozenset[str] = frozenset(),
) -> None:
    """Raises ConfigError if ``part`` does not take one of the arguments, or misses one it needs."""
    if not callable(part):
        raise ConfigError(
            f"{label} is a {type(part).__name__}; name a class or a function that builds the part"
        )
    parameters = inspect.signature(part).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    names = [name for name in parameters if name not in given]
    for name in arguments:
        if name not in names:
            raise ConfigError(
                f"{label} takes no argument {name!r}.{nearest(name, names)}"
                f" It takes: {', '.join(names) or 'none'}"
            )
    for name in names:
        if name not in arguments and parameters[name].default is inspect.Parameter.empty:
            raise ConfigError(f"{label} needs the argument {name!r}: arguments = {{ {name} = … }}")
