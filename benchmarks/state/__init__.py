"""What the state store does: `checkpoints` beside other libraries that make steps durable."""
