"""One HTML file that tells of a run, to be kept and sent around."""
