"""`check_constrained_env`: does the layer see what the env does, and do its masks hold?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import InvalidAction
from riskenv.wrappers.action_spaces import action_kind
from riskenv.wrappers.adapter import Adapter
from riskenv.wrappers.conformance_adapter import adapter_findings
from riskenv.wrappers.conformance_masks import MaskWatch
from riskenv.wrappers.conformance_report import ConformanceReport, Finding
from riskenv.wrappers.conformance_rules import (
    DECLARED,
    MATCHED,
    MISMATCHES,
    UNKNOWN,
    Passage,
    payments,
    unknown_quotes,
    verdict_on,
)
from riskenv.wrappers.conformance_spaces import remap_findings, space_findings
from riskenv.wrappers.observations import copied, same
from riskenv.wrappers.risk_constrained_env import RiskConstrainedEnv

from riskenv.config import ConfigError

# Steps at which every row of a menu, and what an adapter encodes, is compared.
LOOKS = 10
# Resets on one seed: a start drawn from few could be the same by chance in a few of them.
RESETS = 10


def check_constrained_env(
    env: gymnasium.Env[Any, Any], *, steps: int = 200, seed: int = 0
) -> ConformanceReport:
    """Drive an env through the layer with random actions, and compare what was said with what was.

    Looked for: spaces without bounds or seeds, wrappers outside the layer that make its masks
    speak of other actions, masks that `step` does not keep, a snapshot or preview that changes the
    env, an env that its seed does not determine, an observation buffer that is handed out again,
    a step of four values, previews that the account then does not show (each trap by name: see
    `conformance_rules.MISMATCHES`), payments at other prices, and encodings that trade more than
    they were asked for.

    Args:
        env: a `RiskConstrainedEnv`, or wrappers around one. It is stepped and left mid-episode.
        steps: env steps of one run; there are up to three, with the same actions.
        seed: of the resets and of the actions.

    Raises:
        ConfigError: there is no `RiskConstrainedEnv` inside.
        Exception: what env or adapter raise goes through; no guess is made in its place.

    Example:
        >>> import riskenv.train
        >>> bare = gymnasium.make("riskenv/OptionsTrading-v0", convention="discrete")
        >>> env = RiskConstrainedEnv(bare, {"caps": {"delta": 500, "vega": 900}})
        >>> report = check_constrained_env(env, steps=30)
        >>> report.protection.name, report.share_matched, report.problems
        ('ENCODE', 1.0, ())
    """
    layer, outside = _layer_of(env)
    check = _Check(env, layer, outside)
    check.keep(space_findings(env))
    if action_kind(layer.action_space).maskable:
        check.keep(remap_findings(outside))
    try:
        actions, first = check.run(steps, seed)
    except _FourValuesError as error:
        check.add("four_tuple", str(error))
        return check.report()
    check.repeat(actions, first, seed)
    return check.report()


class _FourValuesError(ValueError):
    """`step` or `reset` speaks the interface of the time before Gymnasium."""


class _Check:
    """The findings of one check, as they come in."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        layer: RiskConstrainedEnv,
        outside: list[gymnasium.Wrapper[Any, Any, Any, Any]],
    ) -> None:
        self.env, self.layer, self.outside = env, layer, outside
        self.adapter: Adapter = layer.adapter
        self.findings: dict[str, Finding] = {}
        self.passages: list[Passage] = []
        self.executed: list[Any] = []
        self.masks = MaskWatch(env, layer, outside, lambda finding: self.keep([finding]))

    def add(self, code: str, words: str, problem: bool = True) -> None:
        """Keep the first finding of each code."""
        self.findings.setdefault(code, Finding(code, words, problem))

    def keep(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.findings.setdefault(finding.code, finding)

    # -- rollouts -------------------------------------------------------------------------------

    def run(self, steps: int, seed: int) -> tuple[list[Any], list[Any]]:
        """One watched run; (actions, what came back)."""
        draw = np.random.default_rng(seed)
        self.env.action_space.seed(seed)
        actions: list[Any] = []
        with self._watched(), self._asked_of_layer() as reached:
            trajectory: list[Any] = [self.env.reset(seed=seed)[0]]
            looks = set(np.linspace(0, steps - 1, LOOKS).astype(int).tolist())
            for k in range(steps):
                if k in looks:
                    self.keep(
                        adapter_findings(self.adapter, self.layer.env, self.layer.action_space)
                    )
                action = self.masks.action(draw)
                actions.append(action)
                obs, kept = trajectory[-1], copied(trajectory[-1])
                try:
                    obs_next, reward, terminated, truncated, info = self.env.step(action)
                except InvalidAction:
                    if self.layer._masked_action != "raise":
                        raise
                    actions.pop()  # as it was asked to, and nothing was done
                    self.masks.judge(action, True, reached[-1])
                    continue
                if not same(obs, kept):
                    self._shared("The layer hands it on", True)
                self.masks.judge(action, bool(info["intervened"]), reached[-1])
                trajectory[-1] = kept
                trajectory += [(float(reward), bool(terminated), bool(truncated)), obs_next]
                if terminated or truncated:
                    trajectory.append(self.env.reset(seed=seed + len(actions))[0])
            trajectory[-1] = copied(trajectory[-1])
        return actions, trajectory

    def repeat(self, actions: list[Any], first: list[Any], seed: int) -> None:
        """The same actions again, unwatched: once to see a change, once more to tell its cause."""
        starts = [copied(self.env.reset(seed=seed)[0]) for _ in range(RESETS)]
        again = self._replay(actions, seed)
        settled = all(same(start, starts[0]) for start in starts)
        if settled and same(first, again):
            return
        if settled and same(again, self._replay(actions, seed)):
            self.add(
                "impure",
                "snapshot, preview, encode or fallbacks are not pure: with more of them asked, the "
                "same actions from the same seed went another way",
            )
        else:
            self.add(
                "unseeded",
                "unseeded: the same actions from the same seed went two ways. Draw from "
                "self.np_random alone, never from NumPy's global generator",
            )

    def _replay(self, actions: list[Any], seed: int) -> list[Any]:
        trajectory: list[Any] = [copied(self.env.reset(seed=seed)[0])]
        for k, action in enumerate(actions):
            obs, reward, terminated, truncated, _ = self.env.step(action)
            trajectory += [(float(reward), bool(terminated), bool(truncated)), copied(obs)]
            if terminated or truncated:
                trajectory.append(copied(self.env.reset(seed=seed + k + 1)[0]))
        return trajectory

    # -- what a watched run notes ---------------------------------------------------------------

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Note what passes between the layer and the env under it."""
        inner = self.layer.env
        seen: list[Any] = [None, {}]

        def reset(step: Callable[..., Any], **arguments: Any) -> Any:
            result = step(**arguments)
            if not (isinstance(result, tuple) and len(result) == 2):
                raise _FourValuesError(f"reset returns no (observation, info). {_OLD_GYM}")
            seen[:] = result
            return result

        def step(step: Callable[..., Any], action: Any) -> Any:
            before, market = self._snapshot(*seen)
            expected = self.adapter.preview(inner, action)
            kept = copied(seen[0])
            result = step(action)
            if len(result) != 5:
                raise _FourValuesError(f"4-tuple step: it returns {len(result)} values. {_OLD_GYM}")
            if not same(seen[0], kept):
                self._shared("The layer copies it, and the agent is safe", False)
            seen[:] = result[0], result[4]
            after, next_market = self.adapter.snapshot(inner, *seen)
            trades = None
            if expected is not None:
                trades = dict(zip(market.table.instruments, map(float, expected), strict=True))
            self.passages.append(Passage(before, market, trades, after, next_market))
            self.executed.append(action)
            return result

        with _replaced(inner, "reset", reset), _replaced(inner, "step", step):
            yield

    @contextmanager
    def _asked_of_layer(self) -> Iterator[list[Any]]:
        """The action that reached the layer, last."""
        reached: list[Any] = []

        def step(step: Callable[..., Any], action: Any) -> Any:
            reached.append(action)
            return step(action)

        with _replaced(self.layer, "step", step):
            yield reached

    def _snapshot(self, obs: Any, info: Any) -> tuple[Any, Any]:
        """Twice, which must be the same."""
        book, market = self.adapter.snapshot(self.layer.env, obs, info)
        other, other_market = self.adapter.snapshot(self.layer.env, obs, info)
        twins = same(
            [book.quantity, book.cash, market.columns, market.tickers, market.now],
            [other.quantity, other.cash, other_market.columns, other_market.tickers,
             other_market.now],
        )  # fmt: skip
        if not twins or book.table.instruments != other.table.instruments:
            self.add("impure", "snapshot: two in a row differ; it must be pure")
        return book, market

    def _shared(self, consequence: str, problem: bool) -> None:
        self.add(
            "shared_buffer",
            "shared observation buffer: the observation of a step changed when the next was "
            f"taken. {consequence}",
            problem,
        )

    # -- the report -----------------------------------------------------------------------------

    def report(self) -> ConformanceReport:
        codes = [verdict_on(passage, self.adapter.traits) for passage in self.passages]
        counts = Counter(code for code, _ in codes)
        for code, words in MISMATCHES.items():
            if counts[code]:
                example = next(example for found, example in codes if found == code)
                # A size worked out at a later price cannot be known, and was declared so.
                traits = self.adapter.traits
                late = traits.units == "fraction_of_equity" and traits.fills == "next"
                problem = not (late and code in ("other_size", "cut"))
                self.add(code, words.format(n=counts[code], example=example), problem)
        unknown = unknown_quotes(self.passages)
        if unknown:
            self.add("unknown_quotes", unknown, problem=False)
        paid = payments(self.passages, self.adapter.traits)
        if paid is not None:
            self.add(*paid)
        by_action: dict[int, tuple[int, int]] = {}
        if isinstance(self.layer.action_space, spaces.Discrete):
            for action, (code, _) in zip(self.executed, codes, strict=True):
                if code != UNKNOWN:
                    matched, tried = by_action.get(int(action), (0, 0))
                    by_action[int(action)] = matched + (code == MATCHED), tried + 1
        return ConformanceReport(
            self.adapter.protection,
            len(codes),
            len(codes) - counts[UNKNOWN],
            counts[MATCHED],
            counts[DECLARED],
            by_action,
            tuple(self.findings.values()),
            self.masks.joint,
            self.masks.joint_unchanged,
        )


_OLD_GYM = "Wrap the env in riskenv.wrappers.OldGymEnv first"


def _layer_of(
    env: gymnasium.Env[Any, Any],
) -> tuple[RiskConstrainedEnv, list[gymnasium.Wrapper[Any, Any, Any, Any]]]:
    """The layer inside, and the wrappers around it."""
    outside: list[gymnasium.Wrapper[Any, Any, Any, Any]] = []
    inner: Any = env
    while not isinstance(inner, RiskConstrainedEnv):
        if not isinstance(inner, gymnasium.Wrapper):
            raise ConfigError(
                f"env: got {type(env).__name__} with no RiskConstrainedEnv inside; allowed: one, "
                "or wrappers around one"
            )
        outside.append(inner)
        inner = inner.env
    return inner, outside


@contextmanager
def _replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Call `function(original, ...)` in place of a method of this one object."""
    original, own = getattr(owner, name), vars(owner).get(name)
    setattr(owner, name, lambda *args, **kwargs: function(original, *args, **kwargs))
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
