"""Prices and Greeks of options, compiled."""

from riskenv.pricing.option_greeks import OptionGreeks, black_scholes_price, option_greeks

__all__ = ["OptionGreeks", "black_scholes_price", "option_greeks"]
