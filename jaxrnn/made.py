"""Records know the call that made them: equal calls return one record, which prints and pickles as the call.

A `Cell` or a `Layer` is a static argument of compiled programs. Equal calls return the same object, so that a program
that was compiled for the first is reused for the second.
"""

import importlib
import inspect
import pickle
import sys
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple, Self
from weakref import WeakValueDictionary

_KNOWN: WeakValueDictionary[Hashable, "Call"] = WeakValueDictionary()
_LOCK = threading.Lock()


@dataclass(eq=False)
class Call:
    """A call of a constructor.

    Attributes:
      make: the constructor as others import it.
      args: the arguments by position.
      kwargs: the arguments by name that differ from the constructor's defaults.
      made: the result. A tuple cannot be referenced weakly; a `Call` can, and lives as long.
    """

    make: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    made: Any

    def __repr__(self) -> str:
        """Returns the call as Python, with functions by name."""
        said = [*map(as_python, self.args), *(f"{name}={as_python(value)}" for name, value in self.kwargs.items())]
        return f"{self.make.__name__}({', '.join(said)})"


class Made:
    """The base of `Cell` and `Layer`: each record equals only itself, and knows its `call`, if there was one.

    `_replace` returns a record without a call.
    """

    call: Call | None = None

    def __new__(cls, *entries: Any, **named: Any) -> Self:
        """Returns the record that already has these entries, if any: Flax and JAX rebuild tuples that they map over."""
        made: Any = super().__new__(cls, *entries, **named)
        with suppress(TypeError):  # of an entry that cannot be hashed
            known = _KNOWN.get((cls, *made))
            return made if known is None else known.made
        return made

    def __eq__(self, other: object) -> bool:
        """Returns whether it is the same record; constructors return the same one for equal arguments."""
        return self is other

    def __ne__(self, other: object) -> bool:
        """Returns whether it is another record; a tuple would compare its entries."""
        return self is not other

    def __hash__(self) -> int:
        """Returns a hash by identity, since equality is by identity."""
        return object.__hash__(self)

    def __repr__(self) -> str:
        """Returns the call that made it."""
        return f"<{type(self).__name__} without a recorded call>" if self.call is None else repr(self.call)

    def __copy__(self) -> Self:
        """Returns the record itself, which is immutable."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Returns the record itself, which is immutable."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns the call that made it, because closures cannot be pickled."""
        if self.call is None:
            raise pickle.PicklingError(
                f"this {type(self).__name__} was not made by a constructor alone (_replace drops the call), expected "
                "one that was; make it where it is loaded"
            )
        return _again, (self.call.make, *_named((self.call.args, self.call.kwargs)))


class _Name(NamedTuple):
    """The place of a JAX function: compiled functions cannot be pickled otherwise."""

    module: str
    name: str


def _named(value: Any) -> Any:
    """Returns `value` with each JAX function in it replaced by its `_Name`."""
    if isinstance(value, tuple) and not isinstance(value, Made):
        return tuple(map(_named, value))
    if isinstance(value, dict):
        return {name: _named(entry) for name, entry in value.items()}
    name = getattr(value, "__name__", "")
    places = (place for place in ("jax.numpy", "jax.nn", "jax.lax") if getattr(sys.modules[place], name, 0) is value)
    return next((_Name(place, name) for place in places), value)


def _found(value: Any) -> Any:
    """Inverts `_named`."""
    if isinstance(value, _Name):
        return getattr(importlib.import_module(value.module), value.name)
    if isinstance(value, tuple) and not isinstance(value, Made):
        return tuple(map(_found, value))
    return {name: _found(entry) for name, entry in value.items()} if isinstance(value, dict) else value


def _again(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Rebuilds a record from its pickled call."""
    return make(*_found(args), **_found(kwargs))


def remembered(make: Callable[..., Any], bound: inspect.BoundArguments, build: Callable[[], Any]) -> Any:
    """Returns the result that `make` gave for equal arguments while that is in use, or else calls `build`.

    `bound` holds all arguments, defaults included. Equal arguments have equal types, too: 5 and 5.0 differ. Where one
    is not hashable, `build` is always called.
    """
    key: Hashable = (make, *(_key(value) for value in bound.arguments.values()))
    try:
        known = _KNOWN.get(key)
    except TypeError:
        known = key = None
    if known is not None:
        return known.made
    made = build()
    if not isinstance(made, Made | FunctionType):
        return made
    call = vars(made)["call"] = _call(make, bound, made)
    if key is None:
        return made
    with _LOCK:
        call = _KNOWN.setdefault(key, call)  # another thread may have been faster
        entries: Any = call.made
        if isinstance(entries, Made):
            with suppress(TypeError):
                _KNOWN.setdefault((type(entries), *entries), call)  # type: ignore[misc]
    return call.made


def _call(make: Callable[..., Any], bound: inspect.BoundArguments, made: Any) -> Call:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, parameter in bound.signature.parameters.items():
        value = bound.arguments[name]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            args += value
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            kwargs |= value
        elif parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            args.append(value)
        elif _key(value) != _key(parameter.default):
            kwargs[name] = value
    return Call(make, tuple(args), kwargs, made)


def _key(value: Any) -> Any:
    """Returns a value with its type and the types of its entries; -0.0 is not 0.0."""
    if isinstance(value, tuple | list) and not isinstance(value, Made):
        return (type(value), *map(_key, value))
    if isinstance(value, dict):
        return (dict, *((name, _key(entry)) for name, entry in value.items()))
    return (type(value), value.hex()) if isinstance(value, float) else (type(value), value)


def as_python(value: Any) -> str:
    """Returns the Python expression of a value, as far as one line can show it."""
    if isinstance(value, tuple | list) and not isinstance(value, Made):
        inner = ", ".join(map(as_python, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {as_python(entry)}" for name, entry in value.items()) + "}"
    if not isinstance(value, type) and hasattr(value, "shape") and getattr(value, "shape", ()) != ():
        return f"<array of shape {value.shape}>"
    return getattr(value, "__name__", None) or repr(value)
