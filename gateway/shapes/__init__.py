"""What the gateway says, as types. They describe, and check nothing on the way out; what clients say is in `frames`."""
