"""The REST interface: what `monitoring.views` says, over HTTP; and the guard of everything that is served."""
