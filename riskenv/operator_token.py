"""The operator's token, of which the configuration holds the hash alone."""

from __future__ import annotations

import hashlib
import hmac


def check_token(token: str, sha256: str | None, final: str) -> None:
    """Nothing, if the token is the operator's.

    Args:
        sha256: of the token, hex; None = there is no token.
        final: what cannot be undone without one, in words.

    Raises:
        PermissionError: there is no token, or it is another.

    Example:
        >>> check_token("open sesame", hashlib.sha256(b"open sesame").hexdigest(), "this halt")
        >>> check_token("please", None, "this halt")
        Traceback (most recent call last):
            ...
        PermissionError: operator_token_sha256: none configured; this halt is final
    """
    if sha256 is None:
        raise PermissionError(f"operator_token_sha256: none configured; {final} is final")
    if not hmac.compare_digest(hashlib.sha256(token.encode()).hexdigest(), sha256):
        raise PermissionError("token: not the operator's")
