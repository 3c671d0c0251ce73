"""The sandbox we ship: a service that runs each session in a jail of its own."""
