"""The pure core: bytes and values in, values out. Time and randomness are arguments."""
