"""What every page has: templates, visitors, forms, tabs."""
