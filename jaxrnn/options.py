"""Checks arguments of public functions against annotations: an `int` is a size, a `float` a finite number, and so on.

`checked` does this before the function runs.
"""

import inspect
import math
import types
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, Union, Unpack, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.made import remembered
from jaxrnn.records import guarded
from jaxrnn.types import Cell, Layer

P = ParamSpec("P")
R = TypeVar("R")

INDICES = ("gate", "forget", "input", "num_feature_axes", "eos", "t")  # these ints count from 0
ANY_INTS = ("pad",)
FLOATING = "a floating dtype such as jnp.bfloat16"


class Rule(NamedTuple):
    """A condition on an argument.

    Attributes:
      fits: returns whether a value meets it.
      words: its name in errors.
    """

    fits: Callable[[Any], bool]
    words: str


def checked(make: Callable[P, R]) -> Callable[P, R]:
    """Returns `make` with arguments checked against their annotations, and its record's functions guarded.

    Equal arguments give the same record, as `made.remembered` says. The results of arguments named `…_init` are checked
    against the shape that was asked for. `make` itself checks arguments whose annotation has no rule, such as `Array`.
    Where `make` takes `**options: Unpack[…]` it gets all of these options, with defaults for those that are not given.
    """
    where, signature = make.__name__, expanded(make)
    rules = {name: rule_of(name, parameter.annotation) for name, parameter in signature.parameters.items()}

    @wraps(make)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(_misfit(where, signature, len(args), kwargs, str(error))) from None
        bound.apply_defaults()
        given = inspect.BoundArguments(signature, bound.arguments.copy())
        for name, value in bound.arguments.items():
            rule = rules[name]
            if rule is None or value is signature.parameters[name].default:
                continue
            if not rule.fits(value):
                raise ValueError(
                    f"{where}: {name} is {checks.spelled(value)}, expected {rule.words}{_remedy(name, value, rule)}"
                )
            if name.endswith("_init") and value is not None:
                bound.arguments[name] = held(f"{where}: {name}", value)

        def build() -> Any:
            made = make(*bound.args, **bound.kwargs)
            return guarded(bound.arguments.get("name", where), made) if isinstance(made, Cell | Layer) else made

        return remembered(call, given, build)

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def defaults(**values: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Marks a function with defaults that `checked` uses in place of those in its `Unpack[…]`."""

    def mark(make: Callable[P, R]) -> Callable[P, R]:
        vars(make)["defaults"] = values
        return make

    return mark


def expanded(make: Callable[..., Any]) -> inspect.Signature:
    """Returns the signature of `make` with a keyword argument for each entry of its `**options: Unpack[…]`.

    Each entry of that `TypedDict` is `Annotated[type, default]`.
    """
    signature, others = inspect.signature(make), vars(make).get("defaults", {})
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if get_origin(parameter.annotation) is not Unpack:
            parameters.append(parameter)
            continue
        (options,) = get_args(parameter.annotation)
        for name, hint in get_type_hints(options, include_extras=True).items():
            kind, default = get_args(hint)
            own = {"default": others.get(name, default), "annotation": kind}
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, **own))
    return signature.replace(parameters=parameters)


def rule_of(name: str, annotation: Any) -> Rule | None:
    """Returns the rule for an argument of this name and annotation, or None if there is none."""
    if name in ("dtype", "param_dtype"):
        rule = Rule(_is_floating, FLOATING)
        return rule if name == "param_dtype" else _any_of([rule, _KINDS[type(None)]])
    if name == "key":
        return Rule(checks.is_key, "a PRNG key such as jax.random.key(0)")
    if annotation is int and name in INDICES:
        return Rule(lambda value: _is_int(value) and value >= 0, "an int of 0 or more")
    if annotation is int and name in ANY_INTS:
        return Rule(_is_int, "an int")
    if annotation in _KINDS:
        return _KINDS[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        choices = ", ".join(map(repr, args))
        return Rule(lambda value: isinstance(value, str) and value in args, f"one of {choices}")
    if origin is abc.Callable:
        counted = "" if args[0] is ... else f" of {len(args[0])} argument{'s' * (len(args[0]) > 1)}"
        return Rule(lambda value: _is_function(value, args[0]), f"a function{counted}")
    if origin is tuple:
        return _each([rule_of(name, arg) for arg in args if arg is not ...], several=args[-1] is ...)
    if origin is abc.Mapping:
        inner = rule_of(name, args[1])
        return _named(inner) if inner else None
    if annotation == Sequence[str]:
        return Rule(_are_names, "a tuple of names")
    if origin in (Union, types.UnionType):
        parts = [rule_of(name, arg) for arg in args]
        return _any_of([part for part in parts if part]) if all(parts) else None
    return None


def _any_of(rules: list[Rule]) -> Rule:
    return Rule(lambda value: any(rule.fits(value) for rule in rules), ", or ".join(rule.words for rule in rules))


def _each(rules: list[Rule | None], several: bool) -> Rule:
    """Returns a rule for a tuple or list: one entry per rule, or any number for the only rule if `several`."""

    def fits(values: Any) -> bool:
        if not isinstance(values, tuple | list) or not (several or len(values) == len(rules)):
            return False
        own = rules * len(values) if several else rules
        return all(rule is None or rule.fits(value) for rule, value in zip(own, values, strict=True))

    words = [rule.words if rule else "a value" for rule in rules]
    return Rule(fits, f"a tuple, each entry {words[0]}" if several else f"({', '.join(words)})")


def _named(rule: Rule) -> Rule:
    """Returns a rule for a mapping from names to values that fit `rule`."""

    def fits(values: Any) -> bool:
        return isinstance(values, Mapping) and _are_names(tuple(values)) and all(map(rule.fits, values.values()))

    return Rule(fits, f"a dict whose keys are names and whose values are each {rule.words}")


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_floating(value: Any) -> bool:
    try:
        return value is not None and bool(jnp.issubdtype(jnp.dtype(value), jnp.floating))
    except TypeError:
        return False


def _is_function(value: Any, arguments: Any) -> bool:
    """Returns whether a value is a function of these positional arguments; `...` stands for any."""
    if not callable(value) or isinstance(value, Cell | Layer):
        return False
    if arguments is ...:
        return True
    try:
        inspect.signature(value).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # Python does not know the signature of some functions
        return True
    return True


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)


_KINDS: dict[Any, Rule] = {
    bool: Rule(lambda value: isinstance(value, bool | np.bool_), "True or False"),
    int: Rule(lambda value: _is_int(value) and value >= 1, "an int of 1 or more"),
    float: Rule(_is_finite, "a finite number"),
    str: Rule(lambda value: isinstance(value, str), "a str"),
    type(None): Rule(lambda value: value is None, "None"),
}


def _remedy(name: str, value: Any, rule: Rule) -> str:
    """Returns a remedy for a value that does not fit, where one is known."""
    if isinstance(value, jax.core.Tracer):
        return "; it decides what is compiled: make it static (static_argnames of jax.jit)"
    if not isinstance(value, str) or "function" not in rule.words:
        return ""
    places: dict[str, Any] = {"jax.nn.initializers": jax.nn.initializers}
    if not name.endswith("_init"):
        places = {"jnp": jnp, "jax.nn": jax.nn}
    return next((f"; {place}.{value} is one" for place, module in places.items() if hasattr(module, value)), "")


def _misfit(where: str, signature: inspect.Signature, given: int, named: dict[str, Any], error: str) -> str:
    """Returns the error for a call with too many, too few or unknown arguments."""
    names = list(signature.parameters)
    if unknown := [name for name in named if name not in names]:
        return f"{where}: unknown argument {unknown[0]}, expected one of {', '.join(names)}"
    first = [p.name for p in signature.parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if given > len(first):
        most = f"at most {len(first)} ({', '.join(first)})" if first else "none"
        return f"{where}: {given} given by position, expected {most}; other arguments go by name"
    return f"{where}: {error}, expected {', '.join(names)}"


def held(what: str, initializer: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the initializer with its result checked against the shape that was asked for."""
    return partial(_drawn, what, initializer)


def _drawn(what: str, initializer: Callable[..., Any], key: Any, shape: Any, *rest: Any, **named: Any) -> Any:
    """Returns the result of an initializer after checking its shape and dtype."""
    drawn = initializer(key, shape, *rest, **named)
    checks.check_array_like(what, drawn)
    if drawn.shape != tuple(shape) or not jnp.issubdtype(drawn.dtype, jnp.floating):
        raise checks.ShapeError(
            f"{what} gives shape {drawn.shape} and dtype {drawn.dtype}, expected {tuple(shape)} and a floating one"
        )
    return drawn
