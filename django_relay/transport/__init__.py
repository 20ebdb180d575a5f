"""The only code that opens sockets: what may be connected to, and what connects."""
