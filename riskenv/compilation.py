"""How kernels are compiled: deterministic arithmetic, a disk cache that cannot serve stale code.

`fastmath` is off everywhere: `nnan` would make `not (nan <= cap)` False, which fails open, and
`contract` would give other bits on a CPU with fused multiply-add. With it off, loops over
elements still vectorise, and give the same bits at every vector width.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def source_digest() -> str:
    """sha256 over the risk layer's own sources, in a fixed order (first 16 hex digits).

    Numba's disk cache looks only at the file of the function it compiles: after an edit to a
    *called* file the caller would silently keep the old machine code. The digest is part of the
    cache folder's name, so any edit starts a new cache.
    """
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for folder in (root, root / "pricing", root / "gate"):
        for path in sorted(folder.glob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _prepare_cache() -> bool:
    """Point numba at a folder of this very source; False where no folder can be written."""
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "riskenv"
    )
    digest = source_digest()
    # A child process inherits the variable with the digest already in it.
    base = Path(chosen).parent if Path(chosen).name == digest else Path(chosen)
    for candidate in (base, Path(tempfile.gettempdir()) / f"riskenv-{os.getuid()}"):
        folder = candidate / digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
        return True
    return False


_CACHE = _prepare_cache()

import numba  # noqa: E402  - only after NUMBA_CACHE_DIR is set

if _CACHE:
    # Covers a process that imported numba before riskenv.
    numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel: IEEE arithmetic as written, division by zero gives inf, cached on disk."""
    compiled: Callable[..., Any] = numba.njit(error_model="numpy", cache=_CACHE)(function)
    return compiled


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a building block that is inlined into the kernels that call it."""
    compiled: Callable[..., Any] = numba.njit(error_model="numpy", inline="always")(function)
    return compiled
