"""What an agent of the reference env sees: the market, its account, its book."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from riskenv.train.book import Book
from riskenv.train.env_config import EnvConfig
from riskenv.train.listing import GREEK_ROWS, Listing

OBSERVATION_BOUND = 20.0

_PER_TICKER = (
    "shares",
    "contracts off the slots",
    "dollar delta over initial cash",
    "dollar gamma over initial cash",
    "theta, % of initial cash",
    "vega, % of initial cash",
)


def observation_names(listing: Listing) -> tuple[str, ...]:
    """What each entry of `observation` is."""
    return (
        *listing.feature_names,
        "cash over initial cash",
        "equity over initial cash",
        "margin requirement over equity",
        *(f"contracts in {name}" for name in listing.slot_names()),
        *(f"{ticker} {name}" for name in _PER_TICKER for ticker in listing.market.underlyings),
    )


def observation(listing: Listing, config: EnvConfig, book: Book) -> NDArray[np.float32]:
    """(len(observation_names),) clipped to +-OBSERVATION_BOUND; its own memory."""
    quantity, starts = book.quantity, book.underlying_rows
    cash = config.initial_cash
    off = np.abs(quantity)
    off[book.listed_rows] = 0.0
    greeks = np.add.reduceat(book.quotes[GREEK_ROWS] * quantity, starts, axis=1) / cash
    greeks[2:] *= 100.0
    use = book.requirement / book.equity if book.equity > 0.0 else OBSERVATION_BOUND
    seen = np.concatenate(
        (
            listing.features[book.day],
            (book.cash / cash, book.equity / cash, use),
            quantity[book.slot_rows] / config.observation_lots,
            quantity[starts] / config.observation_shares,
            np.add.reduceat(off, starts) / config.observation_lots,
            greeks.ravel(),
        )
    )
    bound = OBSERVATION_BOUND
    return np.minimum(np.maximum(seen, -bound), bound).astype(np.float32)
