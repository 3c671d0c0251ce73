"""What tests share: real processes, a real client, and a checker of histories."""
