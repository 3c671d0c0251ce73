"""The servers beside ours; they run with packages of their own."""
