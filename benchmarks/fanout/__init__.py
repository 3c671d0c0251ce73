"""Events to many watchers, requests, handshakes: the gateway beside its peers and a floor in C."""
