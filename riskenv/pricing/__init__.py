"""Prices and Greeks of options, compiled."""

from riskenv.pricing.implied_volatility import (
    ImpliedVolatility,
    ImpliedVolatilityStatus,
    implied_volatility,
)
from riskenv.pricing.option_greeks import OptionGreeks, black_scholes_price, option_greeks

__all__ = [
    "ImpliedVolatility",
    "ImpliedVolatilityStatus",
    "OptionGreeks",
    "black_scholes_price",
    "implied_volatility",
    "option_greeks",
]
