"""How fast rainzmq is: `python -m benchmarks`. README.md tells how to run it and holds the latest table."""
