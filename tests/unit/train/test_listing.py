"""What a close lists, and what a book of it may hold."""

from __future__ import annotations

import numpy as np
from riskenv.train import OptionsTradingEnv
from riskenv.train.contract_keys import expiry_of, sign_of

CALM = {"max_lots": 2, "max_shares": 50, "episode_sessions": None, "random_start": False}


def random_walk(market, seed, visit):
    """Calls visit(env) at every close of an episode of random slot trades."""
    env = OptionsTradingEnv("multidiscrete", market=market, config=CALM)
    env.reset(seed=seed)
    env.action_space.seed(seed)
    over = False
    while not over:
        visit(env)
        over = any(env.step(env.action_space.sample())[2:4])


def test_whatever_a_book_holds_was_once_listed_and_lives_on(market):
    held_besides = []

    def visit(env):
        sheet, book = env._book.sheet, env._book
        once = env._listing.once_listed(sheet.day)
        assert np.isin(book.keys, once).all()
        options = once[sign_of(once) != 0.0]
        assert (env._listing.expiries[expiry_of(options)] > sheet.now).all()
        held_besides.append(len(book.keys) - len(sheet.keys))

    random_walk(market, 1, visit)
    assert len(held_besides) > 100
    assert max(held_besides) > 20


def test_the_books_of_a_close_take_parts_of_one_market_which_grows_once_when_it_is_replayed(market):
    wholes: dict[int, list] = {}

    def visit(env):
        whole, rows = env.snapshot()[1].whole
        if whole is not env._book.sheet.market.whole[0]:  # something is held that is not listed
            wholes.setdefault(env._book.day, []).append(whole)
        np.testing.assert_array_equal(env.snapshot()[1].columns, whole.columns[:, rows])

    for seed in range(4):
        random_walk(market, seed, visit)
    replayed = [seen for seen in wholes.values() if len(seen) == 4]
    assert len(replayed) > 100
    assert max(len(set(map(id, seen))) for seen in replayed) == 2
