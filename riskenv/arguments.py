"""What a public method refuses at its door: an argument of another kind than it works with."""

from __future__ import annotations

import reprlib
from numbers import Integral, Real
from typing import Any

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80

# Concrete types first: `isinstance` is slow on the abstract ones.
NUMBER = (float, int, Real)
WHOLE_NUMBER = (int, Integral)
_WORDS = {Real: "a number", Integral: "a whole number", str: "a text", type(None): "None"}


def require(kind: type | tuple[type, ...], /, **arguments: Any) -> None:
    """Nothing, if every argument is of that kind.

    Raises:
        TypeError: one is not; the message has its name, the value received and what is allowed.

    Example:
        >>> require(str, reason="fat finger", strategy="")
        >>> require(NUMBER, external_flow=None)
        Traceback (most recent call last):
            ...
        TypeError: external_flow: got None; allowed: a number
    """
    for name, value in arguments.items():
        if not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            if kinds in (NUMBER, WHOLE_NUMBER):
                kinds = kinds[-1:]
            allowed = " or ".join(_WORDS.get(k, k.__name__) for k in kinds)
            raise TypeError(f"{name}: got {_brief.repr(value)}; allowed: {allowed}")
