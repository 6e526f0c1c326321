"""`RiskConstrainedEnv`: any options-trading env, with the risk layer around every step."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from numpy.typing import NDArray
from riskenv.wrappers.action_spaces import action_kind
from riskenv.wrappers.actions import owned
from riskenv.wrappers.adapter import Adapter, Protection
from riskenv.wrappers.alternatives import Alternatives, Choice
from riskenv.wrappers.audit_record import AuditRecord
from riskenv.wrappers.construction import Source, config_of, manager_of, read_now, reader_of
from riskenv.wrappers.observations import copied
from riskenv.wrappers.penalties import (
    PENALTIES,
    PenaltyConfig,
    correction_penalty,
    drawdown_penalty,
    utilisation_penalty,
    var_penalty,
)
from riskenv.wrappers.plain_arguments import plain
from riskenv.wrappers.risk_observation import RiskObservation
from riskenv.wrappers.step_info import RISK_NAMES, StepInfo

from riskenv.assessment import Assessment
from riskenv.circuit_breaker import BreakerState, Rung
from riskenv.config import Config, ConfigError, load_config
from riskenv.decision import Decision, Verdict
from riskenv.events import Event
from riskenv.factor_history import FactorHistory
from riskenv.gap_risk_monitor import EventPolicy
from riskenv.gate.bundle import save_bundle
from riskenv.gate.input_record import Recording
from riskenv.limits import RiskLimits
from riskenv.measures import INDEX
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.sessions import Sessions
from riskenv.var_config import VarConfig

_log = logging.getLogger(__name__)

# A level that only reacts is worth saying even where nobody asked.
_LEVELS = {
    Protection.READ: logging.WARNING, Protection.PREVIEW: logging.INFO,
    Protection.ENCODE: logging.INFO,
}  # fmt: skip
_WORDS = {
    "correction": ("auto", "none"),
    "masked_action": ("replace", "raise"),
    "unsafe_start": ("keep", "reject", "reduce"),
}
# Starts drawn, or steps taken to reduce one, before an episode cannot begin.
START_ATTEMPTS = 100
_VAR = INDEX["var_1d"]


class InfeasibleStartError(RuntimeError):
    """No start inside the caps was found.

    Example:
        >>> import riskenv.train
        >>> bare = gymnasium.make("riskenv/OptionsTrading-v0")
        >>> env = RiskConstrainedEnv(bare, {"caps": {"delta": 500}}, unsafe_start="reject")
        >>> env.manager.limits.caps.delta, env.reset(seed=0)[1]["equity"]
        (500.0, 1000000.0)
        >>> issubclass(InfeasibleStartError, RuntimeError)   # where no reset gives such a start
        True
    """


class SavedLayer(Config):
    """What `RiskConstrainedEnv.state_dict` writes."""

    breaker: dict[str, Any]
    cost_weight: float


class RiskConstrainedEnv(
    gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs
):
    """Keeps an options-trading env inside risk limits: before each step the layer decides.

    An admissible action reaches the env unchanged, the very same object. Another one is replaced:
    on a menu by the nearest admissible row, elsewhere by the nearest admissible trade that the
    adapter can put into an action, or by the same action scaled down. When the breaker or an event
    demands it, positions are reduced within the same one step. Masks are hints; `step` always
    enforces. Bounds of the action space stay as they are.

    Args:
        env: its actions Discrete, MultiDiscrete, MultiBinary, Box, or a Dict of these, also of
            Dicts. A Tuple is not taken: give it as a Dict.
        limits: caps and breaker levels, as `RiskLimits`, a mapping or a YAML file; or a whole
            `PortfolioRiskManager`, which envs of one process may share, and with it the matrices
            of the days they replay. `limits.correction` says how a trade is corrected: projected
            on the caps, or cut back radially.
        adapter: how to read the env, as itself, as "module:Class", or as "module:NAME" of one; by
            default the env's own `risk_adapter`.
        sessions: the exchange calendar; by default the adapter's.
        history: factor moves for VaR; by default the adapter's. Needed where a tail is capped.
            Either may be the reference to a file that `riskenv.wrappers.save_table` wrote.
        var: `VarConfig`, a mapping or a YAML file.
        events: the event calendar, as events, mappings or the reference to a file; event_policy:
            what it does to the caps.
        penalty: what is taken off the reward; a mapping, a YAML file or a `PenaltyConfig`.
        observe_risk: add to a flat Box or a Dict observation the headroom of each cap, VaR as a
            share of its limit, the rung and the time to the next event; without them the caps look
            as if they moved by themselves.
        correction: "auto" enforces; "none" only watches, and leaves action and reward alone.
        masked_action: "replace" an action that the mask ruled out, or "raise" InvalidAction. A
            reduction that the layer orders raises nothing.
        mask_slots: how many slots of a joint choice a mask reckons with at once; by default it
            closes some, so that no combination of what it leaves open needs correction where
            trades of slots add up and the layer does not reduce the book.
        unsafe_start: a start outside the caps is "keep": kept; "reject": drawn again; "reduce":
            reduced by the layer before the agent's first step.
        carry_state: keep the breaker's state over a reset instead of starting afresh; time must
            then go on over it.

    Raises:
        ConfigError: a configuration is refused, the env says nothing of how to read it, or its
            spaces are not supported.

    Example:
        >>> import gymnasium, riskenv.train
        >>> bare = gymnasium.make("riskenv/OptionsTrading-v0", convention="discrete")
        >>> env = RiskConstrainedEnv(bare, {"caps": {"delta": 500, "vega": 900}})
        >>> obs, info = env.reset(seed=1)
        >>> obs, reward, terminated, truncated, info = env.step(1)   # sell a strangle
        >>> env.last_decision.verdict.value
        'ALLOW'
        >>> dict(zip(env.cost_names, info["costs"].tolist()))
        {'delta': 0.0, 'vega': 0.0}
        >>> sorted(env.risk_report())
        ['events', 'greeks', 'protection', 'rung', 'rungs', 'var']
    """

    # Names of the entries of info["risk"] and info["penalties"].
    risk_names = RISK_NAMES
    penalty_names = PENALTIES

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        limits: RiskLimits | Source | PortfolioRiskManager,
        *,
        adapter: Adapter | str | None = None,
        sessions: Sessions | Mapping[str, str] | None = None,
        history: FactorHistory | Mapping[str, str] | None = None,
        var: VarConfig | Source | None = None,
        events: Iterable[Event | Mapping[str, Any]] | Mapping[str, str] = (),
        event_policy: EventPolicy | Source | None = None,
        penalty: PenaltyConfig | Source | None = None,
        observe_risk: bool = False,
        correction: str = "auto",
        masked_action: str = "replace",
        mask_slots: int | None = None,
        unsafe_start: str = "keep",
        carry_state: bool = False,
    ) -> None:
        events = events if isinstance(events, Mapping) else tuple(events)
        # A spec holds what a file said when it was read, and goes where the file is not.
        limits = read_now("limits", RiskLimits, limits)
        var = read_now("var", VarConfig, var)
        event_policy = read_now("event_policy", EventPolicy, event_policy)
        penalty = read_now("penalty", PenaltyConfig, penalty)
        gymnasium.utils.RecordConstructorArgs.__init__(
            self,
            limits=plain(limits),
            adapter=adapter,
            sessions=plain(sessions),
            history=plain(history),
            var=plain(var),
            events=plain(events),
            event_policy=plain(event_policy),
            penalty=plain(penalty),
            observe_risk=plain(observe_risk),
            correction=correction,
            masked_action=masked_action,
            mask_slots=plain(mask_slots),
            unsafe_start=unsafe_start,
            carry_state=plain(carry_state),
            # A shared manager stays shared, its matrices uncopied; `plain` copied the rest.
            _disable_deepcopy=True,
        )
        super().__init__(env)
        words = {
            "correction": correction, "masked_action": masked_action, "unsafe_start": unsafe_start,
        }  # fmt: skip
        for name, value in words.items():
            if value not in _WORDS[name]:
                allowed = ", ".join(map(repr, _WORDS[name]))
                raise ConfigError(f"{name}: got {value!r}; allowed: {allowed}")
        if correction == "none" and unsafe_start == "reduce":
            raise ConfigError(
                'unsafe_start: got "reduce" beside correction="none"; allowed: "keep", "reject"'
            )
        whole = isinstance(mask_slots, int | np.integer) and mask_slots >= 1
        if mask_slots is not None and not whole:
            raise ConfigError(f"mask_slots: got {mask_slots}; allowed: 1 or more slots, or None")
        self._kind = action_kind(env.action_space)
        self.adapter = reader_of(env, adapter)
        self.manager = manager_of(
            env, self.adapter, limits, sessions=sessions, history=history, var=var, events=events,
            event_policy=event_policy,
        )  # fmt: skip
        level = self.adapter.protection
        _log.log(_LEVELS[level], "%s: protection %s", env, level.words)
        self.penalty = config_of("penalty", PenaltyConfig, penalty)
        self._drawdown_limits = _drawdown_limits(self.manager.limits, self.penalty)
        self.correction = correction
        self._masked_action = masked_action
        self._mask_slots = mask_slots
        self._unsafe_start = unsafe_start
        self._carry_state = carry_state
        self._alternatives = Alternatives(self.manager, self.adapter, self._kind)
        self._info = StepInfo(self.manager.limits)
        self._state = BreakerState()
        self._assessment: Assessment | None = None
        self._recording: Recording | None = None
        self.last_decision: Decision | None = None
        self._audited: AuditRecord | None = None
        self._observation: RiskObservation | None = None
        if observe_risk:
            self._observation = RiskObservation(env.observation_space, self.manager.limits)
            self.observation_space = self._observation.space

    # -- the step -------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; the info is a copy of the env's own.

        Raises:
            InfeasibleStartError: starts outside the caps are not kept, and none inside was found.
            ConfigError: the adapter names no fallback, and what would stand for one trades.
        """
        # What is rejected below never was part of the run.
        before = self._state if self._carry_state else BreakerState()
        obs, info = self._start(before, seed, options)
        for _ in range(START_ATTEMPTS):
            if self._unsafe_start == "keep" or not self.assessment.breached:
                break
            if self._unsafe_start == "reject":
                obs, info = self._start(before, None, options)
            else:
                obs, info = self._reduced_start(before, options)
        else:
            broken, self._assessment = self.assessment.breached, None
            raise InfeasibleStartError(
                f"unsafe_start: {self._unsafe_start!r}, and after {START_ATTEMPTS} attempts the "
                f"start is still outside {', '.join(broken)}"
            )
        self._begin_recorded_episode()
        return self._observe(obs), copied(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of the env, with the action that the layer lets through.

        Info gains `StepInfo.KEYS`; names of its vectors are `cost_names`, `penalty_names` and
        `risk_names`.

        Raises:
            InvalidAction: `masked_action` is "raise", and the mask ruled this action out.
        """
        executed, intervened, penalties = action, False, np.zeros(len(PENALTIES))
        asked = copied(action)  # the env may scale what it is handed in place
        watching = self._only_watches()
        if not watching:
            executed, intervened = self._constrained(action, penalties)
        done = owned(executed)
        # If the env does not come back (an error, Ctrl-C), nobody knows what it has filled.
        self._assessment = None
        result = self.env.step(executed)
        _expect(5, "step", result)
        obs, reward, terminated, truncated, info = result
        self._assess(obs, info)
        a, reward = self.assessment, float(reward)
        costs = self._info.costs(self._info.caps.of(a))
        if not watching:
            if self.penalty.cost_weight > 0.0 and costs.any():
                penalties[4] = self.penalty.cost_weight
            if self.penalty.drawdown_weight > 0.0:
                limit = self._drawdown_limit(a.equity)
                penalties[2] = drawdown_penalty(a.drawdown, limit, self.penalty)
        info = self._info.of(copied(info), a, costs, penalties, reward, done, intervened)
        self._audited = AuditRecord(
            asked, copied(done), intervened, penalties.copy(), reward, self._state
        )
        return (
            self._observe(obs),
            reward - float(penalties.sum()),
            terminated,
            truncated or self._state.rung == Rung.HALTED,
            info,
        )

    def action_masks(self) -> Any:
        """Which choices the layer would let through; never all False.

        Discrete: (A,) actions that would reach the env unchanged. MultiDiscrete and MultiBinary:
        the flags of slot after slot, as sb3-contrib's MaskablePPO asks for them, of which any
        combination would (`Alternatives.mask`; see `mask_slots`). Dict: a mask for each part, as
        deep as the space; None for a Box, which stands where the first fallback has it while the
        choices beside it are judged. What the agent then asks of it is for `step` to correct.

        Raises:
            TypeError: the action space is a Box, or a Dict of nothing else.
        """
        if not self._kind.maskable:
            raise TypeError(
                f"action_masks: got {self.action_space}; allowed: Discrete, MultiDiscrete, "
                "MultiBinary, or a Dict with one of these"
            )
        if self._only_watches():
            choices = self._kind.choices(self._kind.rest())
            return self._kind.shaped(np.ones(len(choices), dtype=bool))
        return self._alternatives.mask(self.env, self._judged(), self._mask_slots)

    def _judged(self) -> Assessment:
        """What actions are judged by: the assessment, at the rung that holds by now."""
        a = self.assessment  # made before the book may have been halted
        return a if a.rung >= self._state.rung else replace(a, rung=self._state.rung)

    def _only_watches(self) -> bool:
        """Asked to, or because no action is known that could be done in place of another."""
        known = self.adapter.protection is not Protection.READ or self.adapter.fallbacks(self.env)
        return self.correction == "none" or not known

    def _constrained(self, action: Any, penalties: NDArray[np.float64]) -> tuple[Any, bool]:
        """(the action to execute, whether it is another one); keeps the decision, records its
        inputs, fills its penalties."""
        a, choose = self._judged(), self._alternatives
        usable = self._kind.contains(action)
        choice: Choice | None = None
        if usable:
            choice = choose.as_asked(self.env, self._state, a, action)
        if choice is None or choice.decision.verdict is not Verdict.ALLOW:
            choice = choose.instead_of(self.env, self._state, a, action if usable else None)
        decision = choice.decision
        replaced = not usable or decision.changed
        # A reduction that the layer orders is not the agent's doing: no mask can rule it out.
        ruled_out = replaced and usable and decision.verdict is not Verdict.REDUCE
        if ruled_out and self._masked_action == "raise" and self._kind.maskable:
            reasons = "; ".join(reason.words for reason in decision.reasons)
            raise InvalidAction(f"action: got {action!r}, which the mask rules out: {reasons}")
        self._state = choice.state
        if self._recording is not None:
            self._recording.add(a.portfolio, a.market, choice.proposal, decision)
        self.last_decision = decision
        config = self.penalty
        least, most = decision.after_interval[:, _VAR].tolist()
        after = least if least == most else math.nan
        penalties[0] = var_penalty(after, -float(decision.low[_VAR]), config)
        if decision.changed and ruled_out:
            change = self._kind.change(action, choice.action)
            penalties[1] = correction_penalty(change, config)
        if config.utilisation_weight > 0.0:
            used = float(decision.used_after[a.capped].max(initial=0.0))
            penalties[3] = utilisation_penalty(used, config)
        # An adapter may offer the same object at every step: the env gets one of its own.
        return (copied(choice.action), True) if replaced else (action, False)

    # -- starts ---------------------------------------------------------------------------------

    def _start(
        self, state: BreakerState, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[Any, Any]:
        self._assessment = None
        result = self.env.reset(seed=seed, options=options)
        _expect(2, "reset", result)
        obs, info = result
        self._state, self.last_decision, self._audited = state, None, None
        self._assess(obs, info)
        if not self._only_watches():
            self._alternatives.check_rest(self.env, self.assessment)
        return obs, info

    def _reduced_start(
        self, before: BreakerState, options: dict[str, Any] | None
    ) -> tuple[Any, Any]:
        """The start one step on, in which the layer brought what it could inside."""
        a = self.assessment
        a = replace(a, rung=max(a.rung, Rung.REDUCE))
        choice = self._alternatives.instead_of(self.env, self._state, a, None)
        obs, _, terminated, truncated, info = self.env.step(choice.action)
        if terminated or truncated:
            return self._start(before, None, options)
        if not self._carry_state:
            self._state = before
        self._assess(obs, info)
        return obs, info

    # -- what the layer sees --------------------------------------------------------------------

    @property
    def assessment(self) -> Assessment:
        """The book's risk at the present decision.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self._assessment is None:
            raise ResetNeeded(
                "call reset() before step() or action_masks(); also after a step that the env did "
                "not finish, or whose book could not be read"
            )
        return self._assessment

    @property
    def state(self) -> BreakerState:
        """The breaker's state."""
        return self._state

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Names of the entries of info["costs"]: the caps."""
        return self._info.cost_names

    @property
    def observed_risk_names(self) -> tuple[str, ...]:
        """Names of the numbers that `observe_risk` adds, in order; () without it."""
        return () if self._observation is None else self._observation.names

    def _assess(self, obs: Any, info: dict[str, Any]) -> None:
        # Where the env cannot be read, the book before is not the one to judge an action by.
        self._assessment = None
        portfolio, market = self.adapter.snapshot(self.env, obs, info)
        self._state, self._assessment = self.manager.assess(self._state, portfolio, market)

    def _observe(self, obs: Any) -> Any:
        """What the agent is shown, its memory its own: some envs fill one buffer for ever."""
        if self._observation is None:
            return copied(obs)
        return self._observation.of(obs, self.assessment)

    def risk_report(self) -> dict[str, Any]:
        """Greeks, VaR, events and rung of the book as it stands, and the level of protection;
        JSON-ready."""
        report = self.manager.report(self.assessment)
        return {**report, "protection": self.adapter.protection.name}

    def audit_record(self) -> dict[str, Any]:
        """All about the last step, JSON-ready: the action proposed and the one executed, the
        penalties, the raw reward, the decision and the breaker's state after it.

        Raises:
            gymnasium.error.ResetNeeded: no step has been taken since the reset.
        """
        if self._audited is None:
            raise ResetNeeded("audit_record: no step has been taken since reset()")
        return self._audited.to_dict(self.last_decision)

    def _drawdown_limit(self, equity: float) -> float:
        amount, share = self._drawdown_limits
        return min(amount, share * max(equity, 0.0)) if share < math.inf else amount

    def set_cost_weight(self, weight: float) -> None:
        """Change `penalty.cost_weight`, the price of a step that ends outside a cap.

        Raises:
            ConfigError: it is below 0 or not finite.
        """
        self.penalty = self.penalty.model_copy(update={"cost_weight": weight})

    # -- saving ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What the layer remembers, JSON-ready: the breaker's state and the cost's price.

        The env's own state is the env's to save.
        """
        return {"breaker": self._state.to_dict(), "cost_weight": self.penalty.cost_weight}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave. A reset still starts afresh, but for `carry_state`.

        Within an episode the book is assessed again, as it now stands, with the state restored.

        Raises:
            ConfigError: `values` is not what `state_dict` writes.
            ValueError: the state is of a later time than the episode is at; nothing was changed.
        """
        saved = load_config(SavedLayer, values)
        state, a = BreakerState.from_dict(saved.breaker), self._assessment
        if a is not None:
            state, a = self.manager.assess(state, a.portfolio, a.market)
        self.set_cost_weight(saved.cost_weight)
        self._state, self._assessment = state, a

    def export_gate(self, path: str | Path) -> str:
        """Write this very layer as a bundle for `riskenv.RiskGate.load`; returns its digest."""
        return save_bundle(self.manager, path)

    def record_to(self, recording: Recording | None, name: str = "episode") -> None:
        """Keep the inputs and the bytes of every decision from now on; None stops it.

        Each reset begins an episode of the record, called `name` and its number.

        Raises:
            RuntimeError: an episode is under way, or the state is carried over resets; a replay
                starts every episode from a fresh state, so the run must do so too.
        """
        if recording is not None and (self.last_decision is not None or self._carry_state):
            why = "carry_state is on" if self._carry_state else "an episode is under way"
            raise RuntimeError(f"record_to: {why}; allowed: episodes that start from a fresh state")
        self._recording, self._recorded, self._record_name = recording, 0, name
        if self._assessment is not None:
            self._begin_recorded_episode()

    def _begin_recorded_episode(self) -> None:
        if self._recording is not None:
            self._recording.inputs.begin_episode(f"{self._record_name} {self._recorded}")
            self._recorded += 1


def _expect(count: int, name: str, result: Any) -> None:
    """Refuse what an env of the old Gym returns, by a name that helps."""
    if not isinstance(result, tuple) or len(result) != count:
        got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise TypeError(
            f"env.{name}: got {got}; allowed: a tuple of {count}, as Gymnasium has it "
            "(riskenv.wrappers.OldGymEnv lifts an env of the old Gym)"
        )


def _drawdown_limits(limits: RiskLimits, penalty: PenaltyConfig) -> tuple[float, float]:
    """(the cap on the drawdown as an amount, as a share of equity); infinite = none."""
    amount, share = limits.caps.drawdown, limits.of_equity.drawdown
    if penalty.drawdown_weight > 0.0 and amount is None and share is None:
        raise ConfigError(
            f"penalty.drawdown_weight: got {penalty.drawdown_weight}; allowed: 0, as no drawdown "
            "is capped"
        )
    return amount or math.inf, share or math.inf
