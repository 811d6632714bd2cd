"""For tests: builders, a manual clock, and the real cores of server and workers run together without
processes.
"""
