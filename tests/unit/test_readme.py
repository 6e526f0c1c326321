"""The README's examples run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces

README = Path(__file__).parents[2] / "README.md"


class MyEnv(gymnasium.Env):
    """The reader's own env: shares of one ticker, -100 to 100 bought a step."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.day, self.price, self.shares, self.cash = 0, 400.0, 0.0, 1e6
        return np.array([self.price, self.shares], dtype=np.float32), {}

    def shares_for(self, action):
        return float(np.rint(100.0 * action[0]))

    def step(self, action):
        traded = self.shares_for(action)
        self.shares, self.cash = self.shares + traded, self.cash - traded * self.price
        move = self.price * 0.01 * self.np_random.standard_normal()
        self.price, self.day = self.price + move, self.day + 1
        obs = np.array([self.price, self.shares], dtype=np.float32)
        return obs, self.shares * move, False, self.day == 100, {}


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) >= 5, "wrapping an env, the Greeks of a book, using the gate, a plan, orders"
    namespace = {"MyEnv": MyEnv}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    decision = namespace["decision"]
    assert decision.verdict.value == "RESIZE"
    assert abs(decision.after[0]) <= 500.0
    printed = capsys.readouterr().out
    assert "outside its cap 500" in printed
    assert "# True [-126.] 1.26" in README.read_text()
    assert "True [-126.] 1.26" in printed
    assert "BLOCK None ['cap_exceeded', 'duplicate_order']\nBLOCK None ['cap_exceeded'," in printed
    assert namespace["answer"].order is None
    said = re.search(r"^# (\{'delta'.*\})$", README.read_text(), re.M)
    assert said is not None
    assert said[1] in printed


def test_each_example_is_short_enough_to_read():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    for block in blocks:
        code = [
            line for line in block.splitlines() if line and not line.startswith(("#", "import"))
        ]
        assert len([line for line in code if not line.startswith("from ")]) <= 20
