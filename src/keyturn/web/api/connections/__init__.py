"""Connections, the objects behind them, and jobs, over HTTP."""
