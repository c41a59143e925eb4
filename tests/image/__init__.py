"""The container image, built on a fresh Debian and run as an orchestrator runs it: `make image-test`."""
