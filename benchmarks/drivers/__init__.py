"""One driver for each system; each runs in that system's environment."""
