"""The installation itself: its root key, its set-up, and what is encrypted under the root key."""
