"""Bearer tokens: the exchange, the issuer, and the keys that sign."""
