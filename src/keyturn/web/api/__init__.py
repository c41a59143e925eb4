"""JSON routes: the Immuta API's for identity, keys and connections, and a few of our own."""
