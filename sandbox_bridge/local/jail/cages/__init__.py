"""The host's grip on all processes of one jail: what they may use, what they use, stand still, die."""
