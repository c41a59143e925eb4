"""HTML pages: rendered here, complete without script."""
