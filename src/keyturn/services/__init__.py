"""Use cases: store, core and clock together. Plain synchronous code that knows nothing of HTTP."""
