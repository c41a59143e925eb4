"""The HTTP side: the gate in front, JSON routes, pages."""
