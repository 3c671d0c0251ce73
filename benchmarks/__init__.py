"""What the product claims, measured beside peers and the machine's own floor in the same run."""
