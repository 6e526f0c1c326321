"""Prices and Greeks of options, compiled."""

from riskenv.pricing.black_scholes import black_scholes_price

__all__ = ["black_scholes_price"]
