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
from riskenv.wrappers.conformance_answers import UnusableError
from riskenv.wrappers.conformance_cash import payments, unexplained_cash
from riskenv.wrappers.conformance_declared import Conduct
from riskenv.wrappers.conformance_masks import MaskWatch
from riskenv.wrappers.conformance_report import ConformanceReport, Finding
from riskenv.wrappers.conformance_rules import (
    DECLARED,
    MATCHED,
    MISMATCHES,
    REMARKS,
    UNKNOWN,
    unknown_quotes,
    verdict_on,
)
from riskenv.wrappers.conformance_spaces import remap_findings, space_findings
from riskenv.wrappers.conformance_watch import Watch, replaced
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
    """Drive an env with random actions, and compare what was said with what was.

    First by itself, so that also actions which the caps would never let through are tried, of a
    menu each; then inside the layer; then again, to see whether it was the same.

    Looked for: spaces without bounds or seeds, wrappers outside the layer that make its masks
    speak of other actions or drop its info, masks that `step` does not keep, a menu without a
    hold, a snapshot or preview that changes the env or what it is given, an env that its seed does
    not determine, an observation buffer that is handed out again, a step of four values, previews
    that the account then does not show (each trap by name: see `conformance_rules.MISMATCHES`),
    payments at other prices, cash that moves while the book does not
    (`conformance_cash.unexplained_cash` says how much may), encodings that trade more than they
    were asked for, and caps broken by an action for want of another.

    Args:
        env: a `RiskConstrainedEnv`, or wrappers around one. It is stepped and left mid-episode.
        steps: env steps of one run; there are up to four.
        seed: of the resets and of the actions.

    Raises:
        ConfigError: there is no `RiskConstrainedEnv` inside.
        Exception: what env or adapter raise goes through; no guess is made in its place. What the
            env by itself raises on an action is a finding.

    Example:
        >>> import riskenv.train
        >>> bare = gymnasium.make("riskenv/OptionsTrading-v0", convention="discrete")
        >>> env = RiskConstrainedEnv(bare, {"caps": {"delta": 500, "vega": 900}})
        >>> report = check_constrained_env(env, steps=30)
        >>> report.protection.name, report.problems
        ('ENCODE', ())
    """
    layer, outside = _layer_of(env)
    check = _Check(env, layer, outside)
    check.keep(space_findings(env))
    if action_kind(layer.action_space).maskable:
        check.keep(remap_findings(outside))
    try:
        check.survey(steps, seed)
        actions, first = check.run(steps, seed)
    except UnusableError as error:
        check.keep([error.finding])
        return check.report()
    check.repeat(actions, first, seed)
    return check.report()


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
        self.watch = Watch(self.adapter, layer.env, lambda finding: self.keep([finding]))
        self.masks = MaskWatch(env, layer, outside, lambda finding: self.keep([finding]))
        self.surveyed = 0

    def add(self, code: str, words: str, problem: bool = True) -> None:
        """Keep the first finding of each code."""
        self.findings.setdefault(code, Finding(code, words, problem))

    def keep(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.findings.setdefault(finding.code, finding)

    def look(self) -> None:
        """Hold what the adapter says against itself."""
        book, market = self.watch.book()
        self.keep(
            adapter_findings(
                self.adapter,
                self.layer.env,
                self.layer.action_space,
                size=len(market.table),
                flat=not book.quantity.any(),
            )
        )

    # -- rollouts -------------------------------------------------------------------------------

    def survey(self, steps: int, seed: int) -> None:
        """One watched run of the env without the layer.

        Raises:
            UnusableError: the layer cannot work with the env.
        """
        env, looks = self.layer.env, _looks(steps)
        actions = self._requests(seed)
        with self.watch.on():
            env.reset(seed=seed)
            for k in range(steps):
                if k in looks:
                    self.look()
                action = next(actions)
                try:
                    *_, terminated, truncated, _ = env.step(action)
                except Exception as error:
                    if error is not self.watch.error:
                        raise
                    self.add(
                        "raised",
                        f"without the layer the env raised {error!r} on {action!r}: let the caps "
                        "rule that out, or have it do nothing. No more was tried without it",
                        problem=False,
                    )
                    break
                if terminated or truncated:
                    env.reset(seed=seed + k + 1)
        self.surveyed = len(self.watch.executed)

    def _requests(self, seed: int) -> Iterator[Any]:
        """Actions of the layer's space: of a menu each once, then any, which moves the book
        further from where it began."""
        space = self.layer.action_space
        if isinstance(space, spaces.Discrete):
            rows = np.random.default_rng(seed).permutation(int(space.n)) + int(space.start)
            yield from rows.tolist()
        space.seed(seed)
        while True:
            yield space.sample()

    def run(self, steps: int, seed: int) -> tuple[list[Any], list[Any]]:
        """One watched run inside the layer; (actions, what came back).

        Raises:
            UnusableError: the layer cannot work with the env.
        """
        draw, looks = np.random.default_rng(seed), _looks(steps)
        self.env.action_space.seed(seed)
        actions: list[Any] = []
        broken: list[str] = []
        with self.watch.on(), self._layer_heard() as intervened:
            try:
                trajectory: list[Any] = [self.env.reset(seed=seed)[0]]
            except ConfigError as error:
                raise UnusableError(
                    Finding("refused", f"the layer refuses the env: {error}")
                ) from error
            for k in range(steps):
                if k in looks:
                    self.look()
                action = self.masks.action(draw)
                actions.append(action)
                obs, kept, asked = trajectory[-1], copied(trajectory[-1]), copied(action)
                intervened.clear()
                try:
                    obs_next, reward, terminated, truncated, info = self.env.step(action)
                except InvalidAction:
                    if self.layer._masked_action != "raise":
                        raise
                    actions.pop()  # as it was asked to, and nothing was done
                    self.masks.judge(action, True, None)
                    continue
                if not same(obs, kept):
                    self.watch.shared_buffer("The layer hands it on", True)
                if intervened:
                    decision = self.layer.last_decision
                    self.masks.judge(asked, intervened[-1], decision)
                    if decision is not None and decision.active:
                        broken.append(f"{', '.join(decision.active)} on the request {asked!r}")
                    if "intervened" not in info:
                        self.add(
                            "info",
                            "a wrapper outside the layer drops its info: the agent's trainer sees "
                            "no costs, and not when an action was replaced. Hand it on",
                        )
                trajectory[-1] = kept
                trajectory += [(float(reward), bool(terminated), bool(truncated)), obs_next]
                if terminated or truncated:
                    trajectory.append(self.env.reset(seed=seed + len(actions))[0])
            trajectory[-1] = copied(trajectory[-1])
        if broken:
            self.add(
                "active_breach",
                f"a cap was broken by an action, for want of one that may be done ({len(broken)} "
                f"steps; {broken[0]}). Is there a hold, is it known by its preview?",
            )
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

    @contextmanager
    def _layer_heard(self) -> Iterator[list[bool]]:
        """Whether the layer replaced what reached it, since the list was cleared."""
        intervened: list[bool] = []

        def step(step: Callable[..., Any], action: Any) -> Any:
            self.masks.reaches(action)
            result = step(action)
            intervened.append(bool(result[4]["intervened"]))
            return result

        with replaced(self.layer, "step", step):
            yield intervened

    # -- the report -----------------------------------------------------------------------------

    def report(self) -> ConformanceReport:
        passages, traits = self.watch.passages, self.adapter.traits
        conduct = Conduct.of(passages, traits)
        codes = [verdict_on(passage, traits, conduct) for passage in passages]
        counts = Counter(code for code, _ in codes)
        for code, words in MISMATCHES.items():
            if counts[code]:
                example = next(example for found, example in codes if found == code)
                self.add(code, words.format(n=counts[code], example=example), code not in REMARKS)
        for finding in (unknown_quotes(passages), payments(passages, traits),
                        unexplained_cash(passages)):  # fmt: skip
            self.keep([finding] if finding is not None else [])
        by_action: dict[int, tuple[int, int]] = {}
        rows, tried, inside = 0, set[int](), set[int]()
        if isinstance(self.layer.action_space, spaces.Discrete):
            rows = int(self.layer.action_space.n)
            tried = {int(action) for action in self.watch.executed}
            inside = {int(action) for action in self.watch.executed[self.surveyed :]}
            if 0 < len(tried) < rows:
                self.add(
                    "untried",
                    f"{rows - len(tried):,} of {rows:,} actions of the menu were never tried, and "
                    "nothing is known of them: take more steps",
                    problem=False,
                )
            for action, (code, _) in zip(self.watch.executed, codes, strict=True):
                if code != UNKNOWN:
                    matched, known = by_action.get(int(action), (0, 0))
                    by_action[int(action)] = matched + (code == MATCHED), known + 1
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
            rows,
            len(tried),
            len(inside),
        )


def _looks(steps: int) -> set[int]:
    """The steps at which the adapter is held against itself."""
    return set(np.linspace(0, steps - 1, LOOKS).astype(int).tolist())


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
