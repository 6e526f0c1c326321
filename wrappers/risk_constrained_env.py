"""`RiskConstrainedEnv`: any options-trading env, with the risk layer around every step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from riskenv.wrappers.actions import in_space, scaled, squared_change
from riskenv.wrappers.adapter import Adapter, Protection
from riskenv.wrappers.penalties import PenaltyConfig, correction_penalty, var_penalty

from riskenv.assessment import Assessment
from riskenv.circuit_breaker import BreakerState, Rung
from riskenv.config import ConfigError, ConfigT, load_config
from riskenv.decision import Decision, Verdict
from riskenv.events import Event
from riskenv.factor_history import FactorHistory
from riskenv.gap_risk_monitor import EventPolicy
from riskenv.gate.bundle import save_bundle
from riskenv.gate.input_record import Recording
from riskenv.limits import RiskLimits
from riskenv.measures import INDEX, MEASURES
from riskenv.portfolio_risk_manager import PortfolioRiskManager
from riskenv.projection import Proposal
from riskenv.sessions import Sessions
from riskenv.var_calculator import VarConfig

Source = Mapping[str, Any] | str | Path

# Radial clip of a continuous action: scales tried, from nearly all of it down to a sixteenth.
RADIAL_SCALES = tuple(k / 16.0 for k in range(15, 0, -1))
# What follows a forced reduction: the request, or half of it.
AFTER_REDUCTION = (1.0, 0.5)
# Utilisation shown to an agent is cut here; Unknown shows as the cut.
OBSERVED_UTILISATION = 4.0
# An event farther away than this many session closes shows as 1.
OBSERVED_SESSIONS = 20


class RiskConstrainedEnv(
    gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs
):
    """Keeps an options-trading env inside risk limits: before each step the layer decides.

    An admissible action reaches the env unchanged, the very same object. Another one is replaced:
    on a menu by the nearest admissible row, in a Box by the same action scaled down. When the
    breaker or an event demands it, positions are reduced within the same one step. Masks are
    hints; `step` always enforces.

    Args:
        env: a Discrete or Box env.
        limits: caps and breaker levels, as `RiskLimits`, a mapping or a YAML file; or a whole
            `PortfolioRiskManager`, which envs of one process may share, and with it the matrices
            of the days they replay.
        adapter: how to read the env; by default the env's own `risk_adapter`.
        sessions: the exchange calendar; by default the adapter's.
        history: factor moves for VaR; by default the adapter's. Needed where a tail is capped.
        var: `VarConfig`, a mapping or a YAML file.
        events: the event calendar; event_policy: what it does to the caps.
        penalty: what is taken off the reward; a mapping, a YAML file or a `PenaltyConfig`.
        observe_risk: append to a flat Box observation the use of each cap, the rung and the time
            to the next event; without them the caps look as if they moved by themselves.
        correction: "auto" enforces; "none" only watches, and leaves action and reward alone.
        carry_state: keep the breaker's state over a reset instead of starting afresh.

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
        >>> sorted(env.risk_report())
        ['events', 'greeks', 'rung', 'var']
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        limits: RiskLimits | Source | PortfolioRiskManager,
        *,
        adapter: Adapter | None = None,
        sessions: Sessions | None = None,
        history: FactorHistory | None = None,
        var: VarConfig | Source | None = None,
        events: Iterable[Event] = (),
        event_policy: EventPolicy | Source | None = None,
        penalty: PenaltyConfig | Source | None = None,
        observe_risk: bool = False,
        correction: str = "auto",
        carry_state: bool = False,
    ) -> None:
        events = tuple(events)
        gymnasium.utils.RecordConstructorArgs.__init__(
            self,
            limits=limits,
            adapter=adapter,
            sessions=sessions,
            history=history,
            var=var,
            events=events,
            event_policy=event_policy,
            penalty=copy.deepcopy(penalty),
            observe_risk=observe_risk,
            correction=correction,
            carry_state=carry_state,
            # A shared manager stays shared, its matrices uncopied; a mapping is the caller's.
            _disable_deepcopy=isinstance(limits, PortfolioRiskManager),
        )
        super().__init__(env)
        if correction not in ("auto", "none"):
            raise ConfigError(f"correction: got {correction!r}; allowed: 'auto', 'none'")
        if not isinstance(env.action_space, spaces.Discrete | spaces.Box):
            raise ConfigError(f"action_space: got {env.action_space}; allowed: Discrete or Box")
        self._actions: spaces.Discrete | spaces.Box = env.action_space
        self.adapter = _adapter_of(env, adapter)
        if isinstance(limits, PortfolioRiskManager):
            given: dict[str, Any] = {"sessions": sessions, "history": history, "var": var}
            given |= {"events": events or None, "event_policy": event_policy}
            for name, value in given.items():
                if value is not None:
                    raise ConfigError(
                        f"{name}: limits is a PortfolioRiskManager, which has its own"
                    )
            self.manager = limits
        else:
            sessions = sessions if sessions is not None else self.adapter.sessions(env)
            if sessions is None:
                raise ConfigError(
                    "sessions: the adapter knows no exchange calendar; pass sessions=..., for "
                    "example riskenv.data.exchange_sessions('2015-01-01', '2026-12-31')"
                )
            self.manager = PortfolioRiskManager(
                _config("limits", RiskLimits, limits),
                sessions,
                history=history if history is not None else self.adapter.factor_history(env),
                var=_config("var", VarConfig, var if var is not None else {}),
                events=events,
                event_policy=_config(
                    "event_policy", EventPolicy, event_policy if event_policy is not None else {}
                ),
            )
        self.penalty = _config("penalty", PenaltyConfig, penalty if penalty is not None else {})
        self.correction = correction
        self._carry_state = carry_state
        self._state = BreakerState()
        self._assessment: Assessment | None = None
        self._recording: Recording | None = None
        self.last_decision: Decision | None = None
        self._observed = np.flatnonzero(self.manager.limits.capped())
        self._observe_risk = observe_risk
        if observe_risk:
            self.observation_space = self._extended_space(env.observation_space)

    # -- the step -------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        if not self._carry_state:
            self._state = BreakerState()
        self._begin_recorded_episode()
        self.last_decision = None
        self._assess(obs, info)
        return self._observe(obs), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of the env, with the action that the layer lets through.

        Info gains `reward_raw`, `penalty_var`, `penalty_correction`, `intervened` (0 or 1), `rung`
        (0 to 5) and `executed_action`.
        """
        if self._only_watches():
            executed, penalties = action, (0.0, 0.0)
        else:
            executed, penalties = self._constrain(action)
        obs, reward, terminated, truncated, info = self.env.step(executed)
        self._assess(obs, info)
        # A copy: an env that hands out one dict for ever would show these keys at its reset.
        info = dict(info)
        info["reward_raw"] = float(reward)
        info["penalty_var"], info["penalty_correction"] = penalties
        info["intervened"] = int(executed is not action)
        info["rung"] = int(self._state.rung)
        info["executed_action"] = np.array(executed)
        truncated = truncated or self._state.rung == Rung.HALTED
        return (
            self._observe(obs),
            float(reward) - penalties[0] - penalties[1],
            terminated,
            truncated,
            info,
        )

    def action_masks(self) -> NDArray[np.bool_]:
        """(A,) actions of the menu that would reach the env unchanged; never all False.

        The form that sb3-contrib's MaskablePPO asks for.

        Raises:
            TypeError: the action space is not Discrete.
        """
        if not isinstance(self.action_space, spaces.Discrete):
            raise TypeError(f"action_masks: got {self.action_space}; allowed: Discrete")
        if self._only_watches():
            return np.ones(int(self.action_space.n), dtype=bool)
        return self.manager.mask(self.assessment, Proposal(self._menu()))

    def _only_watches(self) -> bool:
        """Asked to, or because no action is known that could be done in place of another."""
        known = self.adapter.protection is not Protection.READ or self.adapter.fallbacks(self.env)
        return self.correction == "none" or not known

    def _constrain(self, action: Any) -> tuple[Any, tuple[float, float]]:
        """(action to execute, penalties); keeps the decision and records its inputs."""
        a = self.assessment
        usable = in_space(self._actions, action)
        if usable:
            actions, proposal = [action], Proposal(self._preview(action)[None, :])
            _, decision = self.manager.decide(self._state, a, proposal)
        if not usable or decision.verdict is not Verdict.ALLOW:
            actions, proposal = self._alternatives(action if usable else None)
            _, decision = self.manager.decide(self._state, a, proposal)
        if self._recording is not None:
            self._recording.add(a.portfolio, a.market, proposal, decision)
        self.last_decision = decision
        executed = actions[decision.row]
        if usable and not decision.changed:
            executed = action
        limit = self.manager.limits.caps.var_1d
        return executed, (
            var_penalty(
                float(decision.after[INDEX["var_1d"]]),
                float("inf") if limit is None else limit,
                self.penalty,
            ),
            self._correction_penalty(action if usable else None, executed, decision),
        )

    def _alternatives(self, action: Any | None) -> tuple[list[Any], Proposal]:
        """Everything that could be done instead, with the request's row; hold asked for None."""
        space = self._actions
        if isinstance(space, spaces.Discrete):
            start = int(space.start)
            actions: list[Any] = list(range(start, start + int(space.n)))
            menu = self._menu()
            asked = _hold_row(menu) if action is None else int(action) - start
            return actions, Proposal(menu, asked)
        # Without a hold among the alternatives nothing could be blocked.
        fallbacks = self.adapter.fallbacks(self.env) or [scaled(space, np.zeros(space.shape), 0.0)]
        if action is None:
            action = fallbacks[0]
        # A fallback that trades is a reduction, and wholly the layer's doing.
        actions = [action, *(scaled(space, action, scale) for scale in RADIAL_SCALES)]
        trades = [self._preview(choice) for choice in actions]
        closing = [self._preview(choice) for choice in fallbacks]
        forced = [np.zeros_like(trades[0]) for _ in trades] + closing
        actions, trades = actions + fallbacks, trades + closing
        if self.assessment.reducing and closing:
            mixed = self._after_reduction(space, action, closing)
            actions += [choice for choice, _ in mixed]
            trades += [self._preview(choice) for choice, _ in mixed]
            forced += [first for _, first in mixed]
        return actions, Proposal(np.stack(trades), 0, np.stack(forced))

    def _after_reduction(
        self, space: spaces.Box, action: Any, closing: list[NDArray[np.float64]]
    ) -> list[tuple[Any, NDArray[np.float64]]]:
        """Actions that reduce as the layer would by itself and then do (part of) the request."""
        choices = Proposal(np.stack(closing))
        reduction = self.manager.what_if(self._state, self.assessment, choices).trades
        mixed = []
        for scale in AFTER_REDUCTION:
            rest = self._preview(scaled(space, action, scale))
            both = self.adapter.encode(self.env, reduction + rest, action)
            if both is not None and in_space(space, both):
                mixed.append((both, reduction))
        return mixed

    def _menu(self) -> NDArray[np.float64]:
        trades = self.adapter.preview_all(self.env)
        if trades is None:
            assert isinstance(self.action_space, spaces.Discrete)
            start = int(self.action_space.start)
            actions = range(start, start + int(self.action_space.n))
            trades = np.stack([self._preview(action) for action in actions])
        return trades

    def _preview(self, action: Any) -> NDArray[np.float64]:
        trades = self.adapter.preview(self.env, action)
        if trades is not None:
            return trades
        # The account is all that can be read: let be while no cap is broken and no event blocks
        # anything, and then refused, since NaN is inside no cap.
        a = self.assessment
        free = a.rung < Rung.BLOCK_NEW and not a.entry_blocked.any()
        judged_as = 0.0 if free else np.nan
        return np.full(len(self.assessment.table), judged_as)

    def _correction_penalty(self, asked: Any | None, executed: Any, decision: Decision) -> float:
        # A reduction that the layer orders is not the agent's doing.
        if not decision.changed or decision.verdict is Verdict.REDUCE or asked is None:
            return 0.0
        change = squared_change(self.action_space, asked, executed)
        return correction_penalty(change, self.penalty)

    # -- what the layer sees --------------------------------------------------------------------

    @property
    def assessment(self) -> Assessment:
        """The book's risk at the present decision.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self._assessment is None:
            raise gymnasium.error.ResetNeeded("call reset() before step() or action_masks()")
        return self._assessment

    @property
    def state(self) -> BreakerState:
        """The breaker's state."""
        return self._state

    def _assess(self, obs: Any, info: dict[str, Any]) -> None:
        portfolio, market = self.adapter.snapshot(self.env, obs, info)
        self._state, self._assessment = self.manager.assess(self._state, portfolio, market)

    def risk_report(self) -> dict[str, Any]:
        """Greeks, VaR, events and rung of the book as it stands, JSON-ready."""
        return self.manager.report(self.assessment)

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

    # -- observation ----------------------------------------------------------------------------

    @property
    def observed_risk_names(self) -> tuple[str, ...]:
        """Names of the numbers that `observe_risk` appends, in order."""
        used = tuple(f"used_{MEASURES[j]}" for j in self._observed)
        return (*used, "rung", "time_to_event")

    def _extended_space(self, space: spaces.Space[Any]) -> spaces.Box:
        floats = np.issubdtype(space.dtype or object, np.floating)
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not floats:
            raise ConfigError(
                f"observe_risk: the observation space is {space}; allowed: a flat Box of floats"
            )
        high = [OBSERVED_UTILISATION] * len(self._observed) + [1.0, 1.0]
        return spaces.Box(
            np.concatenate([space.low, np.zeros(len(high), dtype=space.dtype)]),
            np.concatenate([space.high, np.array(high, dtype=space.dtype)]),
            dtype=space.dtype.type,
        )

    def _observe(self, obs: Any) -> Any:
        if not self._observe_risk:
            return obs
        a = self.assessment
        used = np.nan_to_num(a.used[self._observed], nan=OBSERVED_UTILISATION)
        risk = [*np.minimum(used, OBSERVED_UTILISATION), a.rung / Rung.HALTED, self._to_event()]
        return np.concatenate([obs, np.array(risk, dtype=obs.dtype)])

    def _to_event(self) -> float:
        """Closes left before the next event in force, as a share of 20; 1 if there is none."""
        left = [active.closes_before for active in self.assessment.events.active]
        return min(left, default=OBSERVED_SESSIONS) / OBSERVED_SESSIONS


def _adapter_of(env: gymnasium.Env[Any, Any], adapter: Adapter | None) -> Adapter:
    if adapter is None:
        _refuse_action_wrappers(env)
        adapter = getattr(env.unwrapped, "risk_adapter", None)
    if adapter is None:
        raise ConfigError(
            f"adapter: {type(env.unwrapped).__name__} does not say how it is read (no "
            "risk_adapter attribute); pass adapter=..., a riskenv.wrappers.Adapter"
        )
    if not isinstance(adapter, Adapter):
        raise ConfigError(
            f"adapter: got {type(adapter).__name__}; allowed: a riskenv.wrappers.Adapter"
        )
    return adapter


def _refuse_action_wrappers(env: gymnasium.Env[Any, Any]) -> None:
    """An env's own adapter reads the bare env, and would preview another action than is done."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.ActionWrapper):
            raise ConfigError(
                f"env: got a {type(env).__name__} inside, which changes actions after they were "
                "judged; put it around RiskConstrainedEnv, or pass adapter=... that reads through "
                "it"
            )
        env = env.env


def _hold_row(menu: NDArray[np.float64]) -> int:
    """The first row that trades nothing; where every row trades, the one that trades least."""
    return int(np.argmin(np.nan_to_num(np.abs(menu), nan=np.inf).sum(axis=1)))


def _config(name: str, model: type[ConfigT], source: ConfigT | Source) -> ConfigT:
    if isinstance(source, model):
        return source
    if not isinstance(source, Mapping | str | Path):
        raise ConfigError(
            f"{name}: got {source!r}; allowed: a {model.__name__}, a mapping or a YAML file"
        )
    return load_config(model, source)
