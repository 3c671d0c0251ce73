"""What a bus takes from a commit here to whoever follows it elsewhere."""
