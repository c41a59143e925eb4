"""The documentation: pages for people, the same as Markdown and JSON for programs, and answers."""
