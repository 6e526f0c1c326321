"""The bundle: a risk layer as data. JSON and plain arrays in a zip, each with its sha256.

Never a pickle. A member whose digest does not match is refused, and so is one that is missing,
unlisted or written by another format version.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv import canonical
from riskenv.config import ConfigError, load_config
from riskenv.events import Event
from riskenv.factor_history import FactorHistory
from riskenv.gap_risk_monitor import EventPolicy, UnknownDays
from riskenv.limits import RiskLimits
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.sessions import Sessions
from riskenv.var_config import VarConfig
from riskenv.version import __version__

FORMAT = 1
_MANIFEST = "manifest.json"
# A fixed date: the same layer gives the same file to the byte.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


# What zipfile raises on damaged headers, lengths, checksums and compressed data.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
)


class BundleError(ValueError):
    """A bundle is damaged or not one; the message names the member."""


def save_bundle(manager: PortfolioRiskManager, path: str | Path) -> str:
    """Write the layer to `path` (a zip); returns the digest of the whole, hex."""
    members: dict[str, bytes] = {
        "limits.json": canonical.to_bytes(manager.limits.model_dump(mode="json")),
        "var.json": canonical.to_bytes(manager.var.model_dump(mode="json")),
        "event_policy.json": canonical.to_bytes(manager.monitor.policy.model_dump(mode="json")),
        "events.json": canonical.to_bytes(
            [
                {name: getattr(event, name) for name in Event.__dataclass_fields__}
                for event in manager.monitor.events
            ]
        ),
        "sectors.json": canonical.to_bytes(manager.monitor.sectors),
        "unknown_days.json": canonical.to_bytes(
            [
                {
                    "event_type": days.event_type,
                    "symbol": days.symbol,
                    "first": days.first.isoformat(),
                    "last": days.last.isoformat(),
                    "reason": days.reason,
                }
                for days in manager.monitor.unknown
            ]
        ),
        "session_opens.npy": _npy(manager.sessions.opens),
        "session_closes.npy": _npy(manager.sessions.closes),
    }
    history = manager.history
    if history is not None:
        members["history.json"] = canonical.to_bytes({"underlyings": list(history.underlyings)})
        members["history_times.npy"] = _npy(history.times)
        members["history_log_return.npy"] = _npy(history.log_return)
        members["history_log_vol_change.npy"] = _npy(history.log_vol_change)
        if history.overnight is not None:
            members["history_overnight.npy"] = _npy(history.overnight)
    hashes = {name: hashlib.sha256(body).hexdigest() for name, body in members.items()}
    manifest = {"format": FORMAT, "written_by": f"riskenv {__version__}", "sha256": hashes}
    digest = canonical.digest(manifest)
    members[_MANIFEST] = canonical.to_bytes({**manifest, "digest": digest})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), members[name], zipfile.ZIP_DEFLATED)
    return digest


def load_bundle(path: str | Path) -> tuple[PortfolioRiskManager, str]:
    """(the layer, the bundle's digest).

    Raises:
        BundleError: not a bundle, or a changed, missing or unlisted member.
        ConfigError: a configuration in it is not valid for this version.
    """
    members = _read(Path(path))
    manifest = _json(members, _MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else manifest
        raise BundleError(f"{path}: format: got {found!r}; allowed: {FORMAT}")
    digest = manifest.pop("digest", None)
    if canonical.digest(manifest) != digest:
        raise BundleError(f"{path}: {_MANIFEST} was changed: its digest does not match")
    hashes = manifest.get("sha256")
    if not isinstance(hashes, dict):
        raise BundleError(f"{path}: {_MANIFEST}: sha256: got {hashes!r}; allowed: member -> sha256")
    if set(hashes) != set(members) - {_MANIFEST}:
        odd = sorted(set(hashes) ^ (set(members) - {_MANIFEST}))
        raise BundleError(f"{path}: members missing or not listed: {', '.join(odd)}")
    for name, expected in hashes.items():
        if hashlib.sha256(members[name]).hexdigest() != expected:
            raise BundleError(f"{path}: {name} was changed: its sha256 does not match")
    try:
        return _build(members), str(digest)
    except (BundleError, ConfigError):
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # Only a file made by other hands than `save_bundle`'s gets here: its digests are right.
        raise BundleError(f"{path}: a member does not hold what it should: {error}") from None


def _build(members: dict[str, bytes]) -> PortfolioRiskManager:
    history = None
    if "history.json" in members:
        history = FactorHistory(
            tuple(_json(members, "history.json")["underlyings"]),
            _array(members, "history_times.npy"),
            _array(members, "history_log_return.npy"),
            _array(members, "history_log_vol_change.npy"),
            _array(members, "history_overnight.npy")
            if "history_overnight.npy" in members
            else None,
        )
    return PortfolioRiskManager(
        load_config(RiskLimits, _json(members, "limits.json")),
        Sessions(_array(members, "session_opens.npy"), _array(members, "session_closes.npy")),
        history=history,
        var=load_config(VarConfig, _json(members, "var.json")),
        events=[Event(**row) for row in _json(members, "events.json")],
        event_policy=load_config(EventPolicy, _json(members, "event_policy.json")),
        sectors={str(t): str(s) for t, s in _json(members, "sectors.json").items()},
        unknown_days=[_unknown_days(row) for row in _json(members, "unknown_days.json")],
    )


def _unknown_days(row: dict[str, str]) -> UnknownDays:
    first, last = date.fromisoformat(row["first"]), date.fromisoformat(row["last"])
    return UnknownDays(row["event_type"], row["symbol"], first, last, row["reason"])


def _read(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file") from None
    except _DAMAGE as error:
        raise BundleError(f"{path}: not a readable bundle: {error}") from None


def _json(members: dict[str, bytes], name: str) -> Any:
    try:
        return json.loads(members[name])
    except KeyError:
        raise BundleError(f"{name}: missing from the bundle") from None
    except ValueError as error:
        raise BundleError(f"{name}: not JSON: {error}") from None


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(members: dict[str, bytes], name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(io.BytesIO(members[name]), allow_pickle=False)
    except KeyError:
        raise BundleError(f"{name}: missing from the bundle") from None
    except ValueError as error:
        raise BundleError(f"{name}: not an array: {error}") from None
    return array
