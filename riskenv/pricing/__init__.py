"""Prices and Greeks of options, compiled."""

from riskenv.pricing.american_implied_volatility import american_implied_volatility
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
    "american_implied_volatility",
    "black_scholes_price",
    "implied_volatility",
    "option_greeks",
]
