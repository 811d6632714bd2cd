"""What happened in a cluster: the event log, what it says at any time, and what follows from it."""
