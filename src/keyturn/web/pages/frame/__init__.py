"""The frame of every page: templates, visitors, forms, tabs."""
