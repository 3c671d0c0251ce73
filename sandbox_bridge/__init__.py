"""The sandbox protocol: both ends of it, and the local sandbox. Knows nothing of the gateway."""
