"""The feed: every change, for verifiers in other programs."""
