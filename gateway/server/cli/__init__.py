"""The command `gateway`: `app`, `operating` and `history` have what each command takes, the others what they do."""
