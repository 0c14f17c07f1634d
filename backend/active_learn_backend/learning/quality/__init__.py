"""How good the heads are: estimates, advice when to stop, backtests, label errors."""
