"""The portfolio risk layer for options trading: arrays in, decisions out."""
