"""Records that know the call that made them, so that equal calls give one record, which prints and pickles as the call.

A `Cell` or a `Layer` is a static argument of compiled programs. Two that were made alike are one object here, and a
program that was compiled for the first is found again for the second.
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
      args: what was given by position.
      kwargs: what was given by name and differs from the constructor's defaults.
      made: what it returned. A tuple cannot be referred to weakly, but this can, and lives as long.
    """

    make: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    made: Any

    def __repr__(self) -> str:
        """The call in Python, with the names of functions in place of their addresses."""
        said = [*map(spelled, self.args), *(f"{name}={spelled(value)}" for name, value in self.kwargs.items())]
        return f"{self.make.__name__}({', '.join(said)})"


class Made:
    """What `Cell` and `Layer` have in common: each equals only itself, and knows its `call`, if there was one.

    `_replace` returns a record without a call.
    """

    call: Call | None = None

    def __new__(cls, *entries: Any, **named: Any) -> Self:
        """The record that already has these entries, if there is one: Flax and JAX rebuild what they map over."""
        made: Any = super().__new__(cls, *entries, **named)
        with suppress(TypeError):  # of an entry that cannot be hashed
            known = _KNOWN.get((cls, *made))
            return made if known is None else known.made
        return made

    def __eq__(self, other: object) -> bool:
        """Whether it is the same record; constructors return the same one for equal arguments."""
        return self is other

    def __ne__(self, other: object) -> bool:
        """Whether it is another record; a tuple would compare its entries."""
        return self is not other

    def __hash__(self) -> int:
        """Of the record itself, not of its functions."""
        return object.__hash__(self)

    def __repr__(self) -> str:
        """The call that made it."""
        return f"<a {type(self).__name__} of no constructor's>" if self.call is None else repr(self.call)

    def __copy__(self) -> Self:
        """Itself: it cannot change."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: it cannot change."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """By the call that made it: closures cannot be stored."""
        if self.call is None:
            raise pickle.PicklingError(
                f"this {type(self).__name__} was not made by a constructor alone (_replace drops the call), expected "
                "one that was; make it where it is loaded"
            )
        return _again, (self.call.make, *_named((self.call.args, self.call.kwargs)))


class _Name(NamedTuple):
    """Where a function of JAX is found: compiled ones cannot be stored otherwise."""

    module: str
    name: str


def _named(value: Any) -> Any:
    """A value, with the places of JAX's functions in it instead of themselves."""
    if isinstance(value, tuple) and not isinstance(value, Made):
        return tuple(map(_named, value))
    if isinstance(value, dict):
        return {name: _named(entry) for name, entry in value.items()}
    name = getattr(value, "__name__", "")
    places = (place for place in ("jax.numpy", "jax.nn", "jax.lax") if getattr(sys.modules[place], name, 0) is value)
    return next((_Name(place, name) for place in places), value)


def _found(value: Any) -> Any:
    """The inverse of `_named`."""
    if isinstance(value, _Name):
        return getattr(importlib.import_module(value.module), value.name)
    if isinstance(value, tuple) and not isinstance(value, Made):
        return tuple(map(_found, value))
    return {name: _found(entry) for name, entry in value.items()} if isinstance(value, dict) else value


def _again(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Makes a record again from its stored call."""
    return make(*_found(args), **_found(kwargs))


def remembered(make: Callable[..., Any], bound: inspect.BoundArguments, build: Callable[[], Any]) -> Any:
    """What `make` returned for equal arguments while that is in use, or else what `build` returns.

    Arguments are equal if their types are, too: 5 and 5.0 are not. Where one is not hashable, all is built anew.
    """
    bound.apply_defaults()
    key = (make, *(_key(value) for value in bound.arguments.values()))
    try:
        hash(key)
    except TypeError:
        return _with_call(build(), make, bound)
    with _LOCK:
        known = _KNOWN.get(key)
    if known is not None:
        return known.made
    made = _with_call(build(), make, bound)
    if not isinstance(made, Made | FunctionType):
        return made
    with _LOCK:
        call = _KNOWN.setdefault(key, vars(made)["call"])  # another thread may have been faster
        entries: Any = call.made
        if isinstance(entries, Made):
            with suppress(TypeError):
                _KNOWN.setdefault((type(entries), *entries), call)  # type: ignore[misc]
    return call.made


def _with_call(made: Any, make: Callable[..., Any], bound: inspect.BoundArguments) -> Any:
    if isinstance(made, Made | FunctionType):
        vars(made)["call"] = _call(make, bound, made)
    return made


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
    """A value with its type, and with the types of what it contains; -0.0 is not 0.0."""
    if isinstance(value, tuple | list) and not isinstance(value, Made):
        return (type(value), *map(_key, value))
    if isinstance(value, dict):
        return (dict, *((name, _key(entry)) for name, entry in value.items()))
    return (type(value), value.hex()) if isinstance(value, float) else (type(value), value)


def spelled(value: Any) -> str:
    """A value as Python would be given it, as far as a line of text can."""
    if isinstance(value, tuple | list) and not isinstance(value, Made):
        inner = ", ".join(map(spelled, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {spelled(entry)}" for name, entry in value.items()) + "}"
    if not isinstance(value, type) and hasattr(value, "shape") and getattr(value, "shape", ()) != ():
        return f"<array of shape {value.shape}>"
    return getattr(value, "__name__", None) or repr(value)
