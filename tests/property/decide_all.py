"""Run as a program: decide on many worlds and print one digest of all decisions and reports.

python -m tests.property.decide_all 60
"""

from __future__ import annotations

import hashlib
import json
import sys

import numba
import numpy as np

from riskenv import (
    BreakerState,
    Caps,
    Event,
    EventPolicy,
    EventRule,
    Order,
    OrderLimits,
    RiskGate,
    RiskLimits,
    Rung,
)
from riskenv.order_limits import OrderCaps

from .worlds import NOW, TODAY, world

CAPS = {
    "delta": 800.0, "dollar_gamma": 4e3, "theta": 400.0, "vega": 500.0, "var_1d": 9e3,
    "es_3d": 2e4, "gap_loss": 3e4, "day_loss": 5e4,
}  # fmt: skip
RULE = EventRule(
    event_type="cpi", sessions_before=2, cap_multiplier=0.7, gap_log_return=0.1,
    gap_log_vol_change=0.2, reduce=True,
)  # fmt: skip

# Two fifths of each position are to be closed by now, in steps.
SIZES = EventRule(event_type="cpi", sessions_before=4, reduce_to=0.2, steps=2, gap_log_return=0.1)

ORDERS = OrderLimits(options=OrderCaps(max_volume=25.0), underlyings=OrderCaps(max_volume=25.0))

FEATURES = np._core._multiarray_umath.__cpu_features__
DISPATCHED = np._core._multiarray_umath.__cpu_dispatch__


def main() -> None:
    total = hashlib.sha256()
    counts: dict[str, int] = {}
    seen = dict.fromkeys(("sent", "denied", "sized", "halted"), 0)
    for seed in range(int(sys.argv[1])):
        w = world(
            seed,
            limits=RiskLimits(
                caps=Caps(**{k: v * 2.0 ** (seed % 9 - 2) for k, v in CAPS.items()}), orders=ORDERS
            ),
            events=(Event("cpi", NOW + 1, NOW),) * (seed % 3 == 0),
            policy=EventPolicy(rules=(SIZES if seed % 2 else RULE,)),
        )
        rung = Rung([0, 0, 1, 2, 3, 4, 5][seed % 7])
        gate = RiskGate(w.manager, BreakerState(rung, NOW, TODAY, 1e6, 1e6, 1e6))
        rng = np.random.default_rng(seed)
        asked = rng.integers(-40, 40, len(w.table)) * (rng.random(len(w.table)) < 0.5)
        decision = gate.check(w.portfolio, w.market, asked.astype(float))
        total.update(decision.to_bytes())
        counts[decision.verdict] = counts.get(decision.verdict, 0) + 1
        row = int(np.flatnonzero(asked)[0]) if asked.any() else 0
        order = Order(w.table.instruments[row], float(asked[row] or 1), float(w.market.mid[row]))
        sent = gate.check_order(w.portfolio, w.market, order)
        total.update(sent.to_bytes())
        seen["sent"] += sent.order is not None
        seen["denied"] += any(reason.code.startswith("order_") for reason in sent.reasons)
        seen["sized"] += any(reason.code == "event_size" for reason in decision.reasons)
        seen["halted"] += decision.rung == Rung.HALTED
        total.update(json.dumps(gate.report(w.portfolio, w.market)).encode())
    result = {
        "digest": total.hexdigest(),
        "verdicts": counts,
        "seen": seen,
        # To see that the environment took effect.
        "cpu": numba.config.CPU_NAME,
        "numpy_features": [name for name in DISPATCHED if FEATURES[name]],
        "hash": hash("riskenv"),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
