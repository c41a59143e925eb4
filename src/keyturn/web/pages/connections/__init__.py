"""Connections to databases: their list, forms, tests and crawls, and what is behind them."""
