"""The Autobahn test suite against the product's own sockets; see `__main__`."""
