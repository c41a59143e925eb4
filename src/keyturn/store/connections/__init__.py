"""Connections, the objects that crawls find behind them, who manages these, and the jobs that do the work."""
